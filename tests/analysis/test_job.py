"""What an analysis gets: images by seed, weights and random ones; and the json that it writes."""

import json

import cv2
import numpy as np
import pytest
import torch
from dataset_files import make_coco, make_voc
from helpers import photo, tiny_config
from tool_helpers import save_pretraining

from dense_ssl.analysis.job import RANDOM, Job, random_backbone
from dense_ssl.analysis.matching import Matching
from dense_ssl.analysis.registry import Analysis, all_analyses, choose_level
from dense_ssl.analysis.samples import Samples
from dense_ssl.modeling.backbones import ask_for_finer_maps


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_pretraining(tmp_path_factory.mktemp("runs") / "pre")


@pytest.fixture
def folder(tmp_path, restore_catalogs):
    (tmp_path / "photos").mkdir()
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"photos/{i}.png"), photo(np.random.default_rng(i), 64, 48))
    return tmp_path


def entry(folder):
    return f"folder:{folder / 'photos'}"


def names(samples):
    return [x.item["file_name"][-5] for x in samples]


def test_images_are_drawn_by_the_seed(folder):
    first, again, other = (names(Samples(entry(folder), 3, seed)) for seed in (0, 0, 1))
    assert len(first) == 3 and first == again == sorted(first) != other
    assert names(Samples(entry(folder), 99)) == list("012345")


def test_every_backbone_sees_the_same_draws(folder):
    samples = Samples(entry(folder), 3)
    draws = [[x.rng.integers(10**9) for x in samples] for _ in range(2)]
    assert draws[0] == draws[1] and len(set(draws[0])) == 3
    assert [x.rng.integers(10**9) for x in Samples(entry(folder), 3, 1)] != draws[0]


def test_broken_files_are_left_out_and_counted(folder):
    (folder / "photos/2.png").write_bytes(b"no image")
    samples = Samples(entry(folder), 99)
    assert names(samples) == list("01345")
    record = samples.record()
    assert record["images"] == 5 and record["available"] == 6
    assert record["broken"] == [str(folder / "photos/2.png")]


def test_images_have_the_labels_that_are_needed(folder):
    coco = make_coco(folder)
    (sample,) = Samples(coco, 9, needs="boxes")  # the other image has none
    assert sample.boxes.tolist() == [[1, 2, 11, 10]] and sample.classes.tolist() == [0]
    assert len(Samples(coco, 9)) == 2
    with pytest.raises(ValueError, match="has no image with masks"):
        Samples(coco, 9, needs="masks")
    voc = make_voc(folder, {"a": [("cat", "<difficult>0</difficult>", 2, 3, 20, 25)]})
    (sample,) = Samples(f"voc:{voc}:train", 9, needs="boxes")
    assert sample.boxes.tolist() == [[1, 2, 20, 25]]
    with pytest.raises(ValueError, match="has no image with boxes"):
        Samples(entry(folder), 9, needs="boxes")


def test_all_weights_and_then_random_ones(run, folder):
    job = Job({"a": str(run), "b": str(run / "backbone.pkl")}, entry(folder), norm_images=2)
    found = dict(job.backbones(job.samples(4, "images"), (64, 64)))
    assert list(found) == ["a", "b", RANDOM]
    a, b, random = (x.backbone.state_dict() for x in found.values())
    assert all(torch.equal(a[x], b[x]) for x in a)
    assert not torch.equal(a["res2.0.conv1.weight"], random["res2.0.conv1.weight"])
    assert [x.file for x in found.values()] == [
        str(run / "model_final.pth"), str(run / "backbone.pkl"), "",
    ]  # fmt: skip


def test_random_weights_are_those_of_the_config_and_the_seed(run):
    cfg = tiny_config("BYOL", "unused", "unused", "MODEL.RESNETS.NORM", "FrozenBN")
    state = torch.get_rng_state()
    a, b, c = (random_backbone(cfg, seed).backbone for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    name = "res2.0.conv1.weight"
    a, b, c = (x.state_dict() for x in (a, b, c))
    assert torch.equal(a[name], b[name]) and not torch.equal(a[name], c[name])
    # a frozen batch norm would have no statistics
    assert "res2.0.conv1.norm.num_batches_tracked" in a
    assert cfg.MODEL.RESNETS.NORM == "FrozenBN"
    cfg.MODEL.RESNETS.ZERO_INIT_RESIDUAL = True
    zero = random_backbone(cfg, 0).backbone.state_dict()["res2.0.conv3.norm.weight"]
    assert (zero == 0).all()


def test_random_weights_get_the_statistics_of_the_data(run, folder):
    job = Job({"a": str(run)}, entry(folder), norm_images=6)
    samples = job.samples(6, "images")
    found = dict(job.backbones(samples, (64, 64)))
    norm = found[RANDOM].backbone.stem.conv1.norm
    values = []
    norm.register_forward_pre_hook(lambda _, inputs: values.append(inputs[0]))
    for sample in samples:
        found[RANDOM](sample.image, (64, 64))
    values = torch.cat(values)
    assert norm.running_mean.tolist() == pytest.approx(
        values.mean(dim=(0, 2, 3)).tolist(), abs=1e-4
    )
    spread = values.var(dim=(0, 2, 3), correction=0)
    assert norm.running_var.tolist() == pytest.approx(spread.tolist(), rel=1e-3)
    # those of the weights stay as they were in training, unless it is asked for
    trained = found["a"].backbone.stem.conv1.norm
    assert (trained.running_mean == 0).all()
    job = Job({"a": str(run)}, entry(folder), norm_images=6, norm_statistics="data")
    maps = dict(job.backbones(job.samples(6, "images"), (64, 64)))["a"]
    assert not (maps.backbone.stem.conv1.norm.running_mean == 0).any()


def test_the_json_says_what_was_done(run, folder):
    job = Job({"a": str(run)}, entry(folder), overrides={"MODEL.MASK_ON": "False"}, seed=4,
              norm_images=2)  # fmt: skip
    analysis = Matching(images=2, side=64, level="res4")
    paths = job.write(analysis, *analysis.run(job), folder / "out", ("png", "svg"))
    assert [x.rsplit("/", 1)[1] for x in paths] == ["matching.json", "matching.png", "matching.svg"]
    record = json.loads((folder / "out/matching.json").read_text())
    assert set(record["results"]) == {"a", RANDOM}
    assert record["options"] == {"images": 2, "level": "res4", "side": 64, "crop_scale": 0.2,
                                 "flip_prob": 0.5, "colours": "moco", "pictures": 2}  # fmt: skip
    assert record["seed"] == 4 and record["overrides"] == {"MODEL.MASK_ON": "False"}
    assert record["data"]["entry"] == entry(folder) and record["data"]["images"] == 2
    weights = record["weights"]["a"]
    assert weights["file"] == str(run / "model_final.pth")
    assert weights["digest"].startswith("sha256:") and len(weights["digest"]) > 70
    assert weights["config"]["MODEL.RESNETS.DEPTH"] == 50
    assert record["weights"][RANDOM]["file"] == ""
    assert record["origin"]["torch"] == torch.__version__


def test_numbers_that_are_none_are_null(folder):
    analysis = Analysis()
    analysis.name = "x"
    numbers = {"a": {"nan": float("nan"), "array": np.arange(2), "one": np.float32(1)}}
    (path,) = Job().write(analysis, numbers, {}, folder)
    with open(path) as file:
        found = json.load(file)["results"]["a"]
    assert found == {"nan": None, "array": [0, 1], "one": 1.0}


def test_mistakes_have_a_message(run, folder):
    job = Job({RANDOM: str(run)}, entry(folder))
    with pytest.raises(ValueError, match="'random' is the name of the random weights"):
        next(job.backbones(job.samples(2, "images"), (64, 64)))
    with pytest.raises(ValueError, match="give weights"):
        next(Job({}, entry(folder)).backbones(None, (64, 64)))
    with pytest.raises(ValueError, match="--data ENTRY"):
        Job().samples(2, "images")
    with pytest.raises(ValueError, match="--colours is 'blue'; it must be one of"):
        Matching(colours="blue")
    with pytest.raises(ValueError, match="--images is 0"):
        Matching(images=0)


def test_levels(run):
    """The config of the run has res5 alone."""
    _, maps = next(Job({"a": str(run)}).backbones([], (64, 64)))
    assert choose_level(maps, "", 32) == "res5" and choose_level(maps, "", 16) == "res4"
    assert choose_level(maps, "res3", 32) == "res3"
    with pytest.raises(ValueError, match="--level is 'p3'"):
        choose_level(maps, "p3", 32)


@pytest.mark.parametrize("builder, given, expected", [
    ("build_resnet_backbone", ["res5"], ["res2", "res3", "res4", "res5"]),
    ("build_resnet_backbone", ["res4"], ["res2", "res3", "res4"]),  # a C4 detector has no res5
    ("build_resnet_fpn_backbone", ["res3", "res5"], ["res3", "res5"]),
    ("build_timm_backbone", ["res4"], ["res4"]),
])  # fmt: skip
def test_resnets_are_asked_for_finer_maps(builder, given, expected):
    cfg = tiny_config("BYOL", "unused", "unused", "MODEL.BACKBONE.NAME", builder,
                      "MODEL.RESNETS.OUT_FEATURES", given)  # fmt: skip
    ask_for_finer_maps(cfg)
    assert cfg.MODEL.RESNETS.OUT_FEATURES == expected


def test_every_analysis_says_what_it_is():
    for name, kind in all_analyses().items():
        assert name == kind.name and kind.source and kind.__doc__.strip()
        assert kind.needs in ("", "images", "boxes", "masks", "class", "labels")
        kind()  # its defaults are allowed
