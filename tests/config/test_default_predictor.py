"""detectron2's own DefaultPredictor on the config.yaml of a run, as docs/predict.md has it."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from helpers import CONFIGS, base_config, photo

from dense_ssl import add_dense_ssl_config, load_detector
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.config import load_config

OWN = """
from detectron2.config import CfgNode as CN
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from dense_ssl.modeling import OBJECTIVE_REGISTRY, Objective

@META_ARCH_REGISTRY.register()
class OwnDetector(GeneralizedRCNN):
    pass

@OBJECTIVE_REGISTRY.register()
class OwnDetectorObjective(Objective):
    node, label = "OWN_DETECTOR", "own"

    @classmethod
    def add_config(cls, cfg):
        cfg.MODEL.OWN_DETECTOR = CN({"WIDTH": 3})

    def forward(self, views, passes):
        return {}
"""
SCRIPT = """
import sys
import numpy as np
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor
from dense_ssl import add_dense_ssl_config
cfg = get_cfg()
add_dense_ssl_config(cfg)
cfg.merge_from_file(sys.argv[1] + "/config.yaml")
cfg.MODEL.WEIGHTS = sys.argv[1] + "/model_final.pth"
cfg.MODEL.DEVICE = "cpu"
print(type(DefaultPredictor(cfg).model).__name__, cfg.MODEL.OWN_DETECTOR.WIDTH)
"""


def write_run(folder, *options, **more):
    cfg = base_config()
    cfg.merge_from_file(str(CONFIGS / "mini/finetune/COCO-Detection/faster_rcnn_R_18_FPN.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.RESNETS.NORM", "BN", "MODEL.FPN.NORM", "BN",
                         "MODEL.ROI_HEADS.NUM_CLASSES", 3, *options])  # fmt: skip
    torch.manual_seed(0)
    model = build_model(cfg)
    Checkpointer(model, str(folder), settings=backbone_settings(cfg)).save("model_final")
    values = {**yaml.unsafe_load(cfg.dump()), **more}
    values["MODEL"].pop("DEVICE")  # as in a run that detected it
    (folder / "config.yaml").write_text(yaml.dump(values))


def test_it_predicts_what_the_python_api_does(tmp_path):
    write_run(tmp_path)
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    cfg.merge_from_file(str(tmp_path / "config.yaml"))
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    cfg.MODEL.DEVICE = "cpu"
    rgb = photo(np.random.default_rng(0), 120, 90)
    found = DefaultPredictor(cfg)(rgb[:, :, ::-1])["instances"]  # it takes BGR
    expected = load_detector(tmp_path)(rgb)["instances"]
    assert len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)


def test_modules_of_imports_are_known_in_a_new_process(tmp_path):
    """A META_ARCHITECTURE and keys of another module: an unknown key before."""
    (tmp_path / "own_detector.py").write_text(OWN)
    write_run(tmp_path, IMPORTS=[str(tmp_path / "own_detector.py")])
    text = (tmp_path / "config.yaml").read_text().replace("GeneralizedRCNN", "OwnDetector")
    values = yaml.unsafe_load(text)
    values["MODEL"]["OWN_DETECTOR"] = {"WIDTH": 5}
    (tmp_path / "config.yaml").write_text(yaml.dump(values))
    run = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=tmp_path,
                         capture_output=True, text=True)  # fmt: skip
    assert run.stdout.split() == ["OwnDetector", "5"], run.stderr[-2000:]


def test_a_config_of_detectron2_stays_what_it_was(tmp_path):
    """Copies, merges into and from plain nodes, and the dump work as before."""
    cfg = get_cfg()
    add_dense_ssl_config(cfg)
    other = copy.deepcopy(cfg)
    assert isinstance(other, CfgNode) and type(other) is type(cfg) and other == cfg
    plain = get_cfg()
    plain.merge_from_file(str(write(tmp_path, {"SOLVER": {"MAX_ITER": 7}})))
    cfg.merge_from_other_cfg(plain)
    assert cfg.SOLVER.MAX_ITER == 7 and type(cfg.SOLVER) is CfgNode
    (tmp_path / "dump.yaml").write_text(cfg.dump())
    again = load_config(str(tmp_path / "dump.yaml"))
    assert json.dumps(again) == json.dumps(cfg)
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SEED = 3


def write(folder, values):
    path = folder / "x.yaml"
    path.write_text(yaml.dump(values))
    return path
