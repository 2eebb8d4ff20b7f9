"""Every pre-training config: it builds its model, and its recipe is that of the paper."""

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from helpers import CONFIGS, METHODS, base_config

from dense_ssl.data.views.mapper import MultiViewMapper
from dense_ssl.data.views.settings import view_settings
from dense_ssl.engine.setup import check_pretraining, is_pretraining
from dense_ssl.modeling import Pretrainer
from dense_ssl.modeling.memory_bank import MemoryBank
from dense_ssl.modeling.objective import OBJECTIVE_REGISTRY

FOLDERS = ("pretrain", "mini/pretrain", "demo")

# Of each run: optimizer, learning rate of 256 images, batch, epochs, weight decay, momentum of the
# target at the start, length of every queue (None without one); the sizes of the views where they
# are not 224.
RECIPES = {
    "byol_R_50_coco": ("SGD", 0.2, 256, 800, 1e-4, 0.996, None),
    "byol_R_50_imagenet": ("LARS", 0.3, 4096, 300, 1e-6, 0.99, None),
    "byol_R_50_imagenet_1000ep": ("LARS", 0.2, 4096, 1000, 1.5e-6, 0.996, None),
    "byol_R_50_imagenet_scrl": ("LARS", 0.45, 8192, 200, 1e-6, 0.97, None),
    "scrl_R_50_coco": ("LARS", 0.45, 8192, 2000, 1e-6, 0.97, None),
    "scrl_R_50_imagenet": ("LARS", 0.45, 8192, 200, 1e-6, 0.97, None),
    "scrl_R_50_imagenet_1000ep": ("LARS", 0.45, 8192, 1000, 1e-6, 0.97, None),
    "scrl_R_50_imagenet_released": ("LARS", 0.2, 8192, 1000, 1.5e-6, 0.996, None),
    "moco_v2_R_50_coco": ("SGD", 0.3, 256, 800, 1e-4, 0.999, 65536),
    "moco_v2_R_50_coco_2000ep": ("SGD", 0.06, 256, 2000, 1e-4, 0.999, 65536),
    "moco_v2_R_50_imagenet": ("SGD", 0.03, 256, 200, 1e-4, 0.999, 65536),
    "dense_cl_R_50_coco": ("SGD", 0.3, 256, 800, 1e-4, 0.999, 65536),
    "dense_cl_R_50_imagenet": ("SGD", 0.03, 256, 200, 1e-4, 0.999, 65536),
    "dupr_R_50_coco": ("SGD", 0.06, 256, 2000, 1e-4, 0.999, 65536),
    "dupr_R_50_imagenet": ("SGD", 0.06, 256, 200, 1e-4, 0.999, 65536),
    "point_region_contrast_R_50_coco": ("SGD", 0.3, 256, 800, 1e-4, 0.999, 65536),
    "point_region_contrast_R_50_imagenet": ("SGD", 0.03, 256, 200, 1e-4, 0.999, 65536),
    "self_emd_R_50_coco": ("SGD", 0.2, 256, 800, 1e-4, 0.996, None, (224, 224, 112)),
    "self_emd_R_50_imagenet": ("SGD", 0.2, 256, 300, 1e-4, 0.996, None, (224, 224, 112)),
    "lc_loss_R_50_coco": ("LARS", 0.3, 4096, 4000, 1e-6, 0.996, None),
    "lc_loss_R_50_imagenet": ("LARS", 0.3, 4096, 400, 1e-6, 0.996, None),
    "pixpro_R_50_coco": ("LARS", 1.0, 1024, 1000, 1e-5, 0.99, None),
    "distillation_R_50_coco": ("SGD", 0.2, 256, 200, 1e-4, 0.996, None),
    "distillation_R_50_imagenet": ("SGD", 0.2, 256, 20, 1e-4, 0.996, None),
    "pixpro_R_50_imagenet": ("LARS", 1.0, 1024, 100, 1e-5, 0.99, None),
}

# Baselines that differ from a method in the method alone.
BASELINES = {
    "dense_cl_R_50_coco": "moco_v2_R_50_coco",
    "dense_cl_R_50_imagenet": "moco_v2_R_50_imagenet",
    "dupr_R_50_coco": "moco_v2_R_50_coco_2000ep",
    "point_region_contrast_R_50_coco": "moco_v2_R_50_coco",
    "point_region_contrast_R_50_imagenet": "moco_v2_R_50_imagenet",
    "scrl_R_50_imagenet": "byol_R_50_imagenet_scrl",
}


def load(name, *options):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / name))
    cfg.merge_from_list(list(options))
    return cfg


def pretraining_configs():
    """Names of the yamls of pre-training that can be run."""
    paths = [x for folder in FOLDERS for x in sorted((CONFIGS / folder).rglob("*.yaml"))]
    names = [str(x.relative_to(CONFIGS)) for x in paths if not x.name.startswith("Base")]
    return [x for x in names if is_pretraining(load(x))]


NAMES = pretraining_configs()


def build(cfg):
    """The model of a config without memory for its weights."""
    cfg.MODEL.DEVICE = "meta"
    cfg.MODEL.DISTILLATION.TEACHER.WEIGHTS = "random"  # the file is the user's
    with torch.device("meta"):
        return build_model(cfg)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_builds_its_model(name):
    cfg = load(name, "MODEL.RESNETS.NORM", "BN", "MODEL.SSL.HEAD_NORM", "BN")
    check_pretraining(cfg)
    model = build(cfg)
    assert isinstance(model, Pretrainer) and type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    last = max(max(x.online_views + x.target_views) for x in model.objectives.values())
    assert len(MultiViewMapper(cfg).views) > last
    assert cfg.SOLVER.IMS_PER_BATCH % cfg.SOLVER.ACCUMULATE == 0


def test_every_config_writes_to_a_folder_of_its_own():
    folders = [load(x).OUTPUT_DIR for x in NAMES]
    assert len(set(folders)) == len(folders) and "./output" not in folders


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_those_of_the_papers(name):
    cfg = load(f"pretrain/{name}.yaml")
    assert METHODS[cfg.MODEL.META_ARCHITECTURE].yaml == name.partition("_R_50_")[0]
    queues = {len(x) for x in build(cfg).modules() if isinstance(x, MemoryBank)}
    solver = cfg.SOLVER
    assert RECIPES[name] == (
        solver.OPTIMIZER, solver.BASE_LR * 256 / solver.BASE_LR_BATCH, solver.IMS_PER_BATCH,
        solver.EPOCHS, solver.WEIGHT_DECAY, cfg.MODEL.SSL.MOMENTUM.BASE,
        *(queues or [None]),
        *([tuple(cfg.INPUT.VIEWS.SIZE)] if tuple(cfg.INPUT.VIEWS.SIZE) != (224,) else []),
    )  # fmt: skip
    assert list(cfg.DATASETS.TRAIN) == ["coco_2017_train" if "coco" in name else "imagenet_train"]
    # batch norm of each GPU needs shuffled keys, synchronised batch norm does not
    assert cfg.MODEL.SSL.SHUFFLE_TARGET == (cfg.MODEL.RESNETS.NORM == "BN")


def settings(node, prefix=""):
    """{key: value} of a config node and all below it."""
    found = {}
    for key, value in node.items():
        deeper = isinstance(value, dict)
        found.update(settings(value, f"{prefix}{key}.") if deeper else {f"{prefix}{key}": value})
    return found


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_differ_in_the_method_alone(name):
    cfg, baseline = (load(f"pretrain/{x}.yaml") for x in (name, BASELINES[name]))
    method = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    nodes = {OBJECTIVE_REGISTRY.get(x).node for x in method.objective_names} - {"MOCO"}
    own = ["MODEL.META_ARCHITECTURE", "MODEL.SSL.OBJECTIVE_WEIGHTS", "OUTPUT_DIR"]
    own += ["MODEL.RESNETS.OUT_FEATURES", *(f"MODEL.{x}." for x in nodes)]
    a, b = settings(cfg), settings(baseline)
    differ = {x for x in a if a[x] != b[x] and not x.startswith(tuple(own))}
    assert a.keys() == b.keys() and not differ


def test_self_emd_and_its_baseline_differ_in_the_third_view_and_the_method_alone():
    cfg, baseline = (load(f"pretrain/{x}_R_50_coco.yaml") for x in ("self_emd", "byol"))
    assert view_settings(cfg.INPUT.VIEWS)[:2] == view_settings(baseline.INPUT.VIEWS)
    a, b = settings(cfg), settings(baseline)
    own = ("MODEL.META_ARCHITECTURE", "MODEL.SELF_EMD.", "OUTPUT_DIR", "INPUT.VIEWS.")
    assert not {x for x in a if a[x] != b[x] and not x.startswith(own)}


def test_only_byols_own_recipes_cut_crops_to_the_image():
    """Methods and baselines that are compared have the same crops."""
    clamped = {x for x in NAMES if "clamp" in load(x).INPUT.VIEWS.CROP_SAMPLER}
    assert clamped == {f"pretrain/byol_R_50_imagenet{x}.yaml" for x in ("", "_1000ep")}


def test_every_method_has_a_recipe_for_both_data_sets():
    names = {f"{x.yaml}_R_50_{data}" for x in METHODS.values() for data in ("coco", "imagenet")}
    assert names <= set(RECIPES)
    assert {f"pretrain/{x}.yaml" for x in RECIPES} == {
        x for x in NAMES if x.startswith("pretrain/") and "compose" not in x
    }


def test_what_the_released_scrl_does_otherwise():
    names = ("scrl_R_50_imagenet_1000ep", "scrl_R_50_imagenet_released")
    paper, code = (settings(load(f"pretrain/{x}.yaml")) for x in names)
    assert {key: code[key] for key in paper if code[key] != paper[key]} == {
        "MODEL.SCRL.BOX_SAMPLING": "grid", "MODEL.SCRL.ALIGNED": False,
        "INPUT.VIEWS.BLUR": ("resize",), "INPUT.VIEWS.BACKEND": "exact",
        "MODEL.SSL.CONCATENATE_VIEWS": True, "INPUT.VIEWS.MIN_OVERLAP": 0,
        "SOLVER.BASE_LR": 0.2, "MODEL.SSL.MOMENTUM.BASE": 0.996, "SOLVER.WEIGHT_DECAY": 1.5e-6,
        "OUTPUT_DIR": "output/scrl_R_50_imagenet_released",
    }  # fmt: skip
