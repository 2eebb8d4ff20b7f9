"""backbone.yaml: with it, stock detectron2 computes the features of backbone.pkl."""

import pytest
import torch
import yaml
from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from helpers import base_config, tiny_config
from tool_helpers import load_tool
from weight_files import network

from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.checkpoint.stock import stock_keys, stock_yaml, write_stock_yaml

FASTER = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
LEVELS = ["res2", "res3", "res4", "res5"]
FPN = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone", "MODEL.RESNETS.OUT_FEATURES", LEVELS,
       "MODEL.FPN.IN_FEATURES", LEVELS, "MODEL.FPN.OUT_CHANNELS", 8]  # fmt: skip


def pretrain(folder, *options):
    """(model, cfg) of a pre-training with a checkpoint in ``folder``."""
    cfg = tiny_config("BYOL", "unused", folder, "MODEL.RESNETS.NUM_GROUPS", 2, *options)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for name, x in model.backbone.state_dict().items():
        if x.is_floating_point():
            x.copy_(
                0.5 + torch.rand_like(x) if "running_var" in name else 0.3 * torch.randn_like(x)
            )
    Checkpointer(model, str(folder), settings=backbone_settings(cfg),
                 stock=stock_yaml(stock_keys(cfg))).save("model_0000001")  # fmt: skip
    return model, cfg


def stock_detector(folder, block):
    """A Faster R-CNN of stock detectron2 with the weights, and the pasted block if ``block``."""
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(FASTER))
    if block:
        cfg.merge_from_file(str(folder / "backbone.yaml"))
    else:  # at least the shapes
        for key in ("STEM_OUT_CHANNELS", "RES2_OUT_CHANNELS", "WIDTH_PER_GROUP", "NUM_GROUPS"):
            cfg.MODEL.RESNETS[key] = yaml.safe_load(
                (folder / "backbone.yaml").read_text())["MODEL"]["RESNETS"][key]  # fmt: skip
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 8
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(str(folder / "backbone.pkl"))
    return model, cfg


def features(model, rgb, fmt):
    """Maps of res2 to res5 of an RGB image, as detectron2 feeds it."""
    image = rgb if fmt == "RGB" else rgb.flip(0)
    images = model.preprocess_image([{"image": image}]).tensor
    return model.backbone.bottom_up(images)


@torch.no_grad()
@pytest.mark.parametrize("options", [[], FPN], ids=["resnet", "fpn"])
def test_stock_detectron2_computes_the_same_features(tmp_path, options):
    ours, cfg = pretrain(tmp_path, *options)
    image = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    pixels = ((image - mean) / std)[None]
    expected = ours.backbone(pixels)
    stock, stock_cfg = stock_detector(tmp_path, block=True)
    found = features(stock, image, stock_cfg.INPUT.FORMAT)
    torch.testing.assert_close(found["res5"], getattr(ours.backbone, "bottom_up", ours.backbone)(
        pixels)["res5"])  # fmt: skip
    assert found["res5"].std() > 0
    if options:  # the pyramid comes along
        pyramid = stock.backbone(stock.preprocess_image([{"image": image}]).tensor)
        for level in ("p2", "p5"):
            torch.testing.assert_close(pyramid[level], expected[level])
    assert all(x.requires_grad for x in stock.backbone.bottom_up.parameters())
    plain, plain_cfg = stock_detector(tmp_path, block=False)
    if not options:  # why the block is needed: it loads as well, and computes something else
        wrong = features(plain, image, plain_cfg.INPUT.FORMAT)["res5"]
        assert (wrong - found["res5"]).abs().max() > 0.1 * found["res5"].abs().max()
        assert not all(x.requires_grad for x in plain.backbone.bottom_up.parameters())


def test_it_has_no_key_that_stock_detectron2_lacks(tmp_path):
    for options in ([], FPN, ["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]]):
        path = tmp_path / "x.yaml"
        path.write_text(stock_yaml(stock_keys(base_config(*options))))
        get_cfg().merge_from_file(str(path))
        assert yaml.safe_load(path.read_text())["MODEL"]["BACKBONE"]["FREEZE_AT"] == 0


def test_batch_norm_is_one_that_runs_everywhere():
    text = stock_yaml(stock_keys(base_config("MODEL.RESNETS.NORM", "naiveSyncBN")))
    assert yaml.safe_load(text)["MODEL"]["RESNETS"]["NORM"] == "BN"
    text = stock_yaml(stock_keys(base_config("MODEL.RESNETS.NORM", "GN")))
    assert yaml.safe_load(text)["MODEL"]["RESNETS"]["NORM"] == "GN"


@pytest.mark.parametrize("name", ["build_timm_backbone", "build_vit_fpn_backbone",
                                  "build_dilated_resnet_backbone"])  # fmt: skip
def test_other_backbones_are_said_to_need_dense_ssl(name):
    text = stock_yaml(stock_keys(base_config("MODEL.BACKBONE.NAME", name)))
    assert name in text and "add_dense_ssl_config" in text and yaml.safe_load(text) is None


def test_another_yaml_of_that_name_stays(tmp_path):
    path = tmp_path / "backbone.yaml"
    path.write_text("MODEL: {}\n")
    text = stock_yaml(stock_keys(base_config()))
    assert write_stock_yaml(text, str(tmp_path / "backbone.pkl")) is None
    assert path.read_text() == "MODEL: {}\n"
    path.unlink()
    for _ in range(2):  # its own is replaced
        assert write_stock_yaml(text, str(tmp_path / "backbone.pkl")) == str(path)


def test_a_converted_file_has_one_as_well(tmp_path, capsys):
    torch.save(network("resnet18", 1).state_dict(), tmp_path / "r18.pth")
    files = [str(tmp_path / "r18.pth"), str(tmp_path / "r18.pkl")]
    assert load_tool("convert_weights").main(files) == 0
    data = yaml.safe_load((tmp_path / "r18.yaml").read_text())
    assert data["MODEL"]["RESNETS"]["DEPTH"] == 18 and data["INPUT"]["FORMAT"] == "RGB"
    assert "r18.yaml" in capsys.readouterr().out
