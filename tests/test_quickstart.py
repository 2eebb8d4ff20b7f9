"""Every block of docs/quickstart.md runs on tiny data, or is parsed if it cannot run here."""

import json
import re
import shlex
import subprocess

import numpy as np
import pytest
import timm
from dataset_files import make_voc
from detectron2.engine import default_argument_parser
from helpers import METHODS, ROOT, photo
from PIL import Image
from safetensors.torch import save_file
from tool_helpers import load_tool

from dense_ssl.config import read_config
from dense_ssl.engine import run

PAGE = (ROOT / "docs/quickstart.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
# What makes a training small: added behind the keys of each command.
QUICK = [
    "MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8,
    *METHODS["SCRL"].small, "INPUT.VIEWS.SIZE", (64,),
    "MODEL.DISTILLATION.TEACHER.NAME", "test_vit.r160_in1k",
    "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64,
    "MODEL.ROI_BOX_HEAD.FC_DIM", 16, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
    "MODEL.RPN.POST_NMS_TOPK_TEST", 20, "TEST.DETECTIONS_PER_IMAGE", 5,
    "SOLVER.EPOCHS", 0, "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0,
    "SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "SOLVER.STEPS", (),
    "SOLVER.IMS_PER_BATCH", 2, "SOLVER.AMP.ENABLED", False, "TEST.EVAL_EPOCHS", 1,
    "TEST.PRECISE_BN.NUM_ITER", 1, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu",
    "VIS_PERIOD", 0, "SEED", 1,
]  # fmt: skip
# What a command begins with or contains, and why it is not run.
NOT_RUN = {
    "--num-gpus 8": "eight processes of a ResNet-50",
    "torchrun": "eight processes of a ResNet-50",
    "srun": "needs SLURM",
    "hf download": "needs a network",
}

pytestmark = pytest.mark.usefixtures("restore_catalogs", "restore_process")


def commands(block):
    """The commands of a block, without comments and settings of the shell."""
    lines = block.replace("\\\n", " ").splitlines()
    return [x for x in lines if x and not x.startswith(("#", "export "))]


def reason(command):
    return next((why for part, why in NOT_RUN.items() if part in command), "")


def add_export(folder):
    """A COCO export as Roboflow writes it: a json beside the images, a class without objects."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(photo(rng, 90, 70)).save(folder / f"{i}.jpg")
    box = {"bbox": [5, 6, 40, 30], "area": 1200, "iscrowd": 0, "segmentation": []}
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 90, "height": 70} for i in range(4)],
        "categories": [{"id": i, "name": x} for i, x in enumerate(("cells", "RBC", "WBC"))],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + i % 2, **box} for i in range(4)
        ],
    }
    (folder / "_annotations.coco.json").write_text(json.dumps(data))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The checkout's configs, and the data that the page calls /path/to/..."""
    data = tmp_path / "data"
    for split in ("train", "valid", "test"):
        add_export(data / "export" / split)
    (data / "photos").symlink_to(data / "export/train")
    for split, ids in (("train", "12"), ("val", "34")):
        make_voc(data, {x: [("RBC", "", 2, 3, 20, 25)] for x in ids}, split)
    (data / "voc").rename(data / "VOC")
    (tmp_path / "weights").mkdir()
    save_file(timm.create_model("test_vit.r160_in1k").state_dict(),
              tmp_path / "weights/model.safetensors")  # fmt: skip
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(command, folder):
    """Run a command of the page in this process."""
    program, script, *arguments = shlex.split(command.replace("/path/to", str(folder / "data")))
    assert program == "python", command
    if script == "train_net.py":
        args = default_argument_parser().parse_args(arguments)
        output = args.opts[args.opts.index("OUTPUT_DIR") + 1]
        args.opts += [str(x) for x in QUICK]
        run(args)
        assert args.eval_only or (folder / output / "model_final.pth").is_file(), command
        return
    tool = load_tool(script[len("tools/") : -len(".py")])
    assert tool.main(arguments) in (0, None), command
    assert list((folder / arguments[arguments.index("--output") + 1]).iterdir())


def test_every_block_runs_in_the_order_of_the_page(folder):
    for kind, text in BLOCKS:
        if kind == "python":
            names = {}
            exec(compile(text, "docs/quickstart.md", "exec"), names)
            assert names["cfg"].MODEL.RESNETS.STEM_OUT_CHANNELS == 8  # of the tiny network
            continue
        for command in commands(text):
            if not reason(command):
                execute(command, folder)


PARSED = [x for kind, text in BLOCKS if not kind for x in commands(text) if reason(x)]


@pytest.mark.parametrize("command", [x for x in PARSED if "train_net.py" in x])
def test_what_is_not_run_loads_with_its_keys(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    args = default_argument_parser().parse_args(words[words.index("train_net.py") + 1 :])
    cfg = read_config(args.config_file, args.opts)
    assert cfg.DATASETS.TRAIN == ("folder:/path/to/photos",)
    assert cfg.OUTPUT_DIR == "output/my_scrl"
    assert args.machine_rank < args.num_machines


def test_the_job_script_is_a_script():
    (script,) = [text for _, text in BLOCKS if "srun" in text]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "--ntasks-per-node 8" in script and "--gres gpu:8" in script
    assert "MASTER_ADDR" in script  # without it srun's tasks would not find each other


def test_the_reasons_are_all_in_use():
    assert all(any(part in x for x in PARSED) for part in NOT_RUN)
    assert len(PARSED) == 5 and len(BLOCKS) == 14
