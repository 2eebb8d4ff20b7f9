"""Exported files: they do what the model does, for every kind of model."""

import json

import pytest
import torch
from export_models import BACKBONES, DETECTORS, needs_onnx, write_run

from dense_ssl.export import ExportError, export_model, formats, load_source
from dense_ssl.export.modules import traceable

FORMATS = ["torchscript", pytest.param("onnx", marks=needs_onnx)]
NOT_IN_ONNX = ("keypoint_rcnn_fpn",)
ONE_SIZE = ("fcn_windows", "vit", "vit_fpn")


@pytest.fixture
def source(tmp_path):
    """A function that returns (config, module) of a small model."""

    def load(name, *options):
        write_run(name, tmp_path / name, *options)
        return load_source(str(tmp_path / name))[:2]

    return load


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", (*DETECTORS, *BACKBONES))
def test_every_model_at_any_size(source, tmp_path, name, file_format):
    cfg, module = source(name)
    if (file_format == "onnx" and name in NOT_IN_ONNX) or name in ONE_SIZE:
        message = "Use --format torchscript" if name in NOT_IN_ONNX else "--image-size HEIGHT WIDTH"
        with pytest.raises(ExportError, match=message):
            export_model(cfg, module, file_format, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
        return
    path, facts = export_model(cfg, module, file_format, tmp_path / "out")
    assert facts == json.loads((path.parent / f"{path.name}.json").read_text())
    assert [x["name"] for x in facts["outputs"]] == list(module(example(module, 70, 45)))
    # a size that the export has not seen
    found = formats.FORMATS[file_format][2](path)(example(module, 70, 45))
    for key, x in module(example(module, 70, 45)).items():
        assert found[key].dtype == x.dtype
        if key in ("masks", "keypoints"):  # of regions that are compared above
            assert found[key].shape == x.shape
        else:
            torch.testing.assert_close(found[key], x, rtol=1e-3, atol=1e-3)


@needs_onnx
@pytest.mark.parametrize("name", ["resnet_fpn", "faster_rcnn_fpn"])
def test_axes_of_one_name_in_an_onnx_file_have_one_size(source, tmp_path, name):
    import onnx

    cfg, module = source(name)
    path, _ = export_model(cfg, module, "onnx", tmp_path / "out")
    image = example(module, 64, 96)
    tensors = {module.input_name: image, **module(image)}
    graph, sizes = onnx.load(path).graph, {}
    for value in (*graph.input, *graph.output):
        axes = value.type.tensor_type.shape.dim
        assert len(axes) == tensors[value.name].ndim
        for axis, size in zip(axes, tensors[value.name].shape):
            known = sizes.setdefault(axis.dim_param, size) if axis.dim_param else axis.dim_value
            assert known == size, (value.name, axis)
    assert "height" in sizes and ("p3_height" in sizes or "K" in sizes)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "name", ["fcn_windows", "retinanet", *(x for x in BACKBONES if x.startswith("vit"))]
)
def test_one_size(source, tmp_path, name, file_format):
    cfg, module = source(name)
    path, facts = export_model(cfg, module, file_format, tmp_path / "out", size=[64, 80])
    assert facts["input"]["shape"][-2:] == [64, 80]
    run = formats.FORMATS[file_format][2](path)
    run(example(module, 64, 80))
    with pytest.raises(Exception, match=r"(?s)height and width|invalid dimensions"):
        run(example(module, 64, 96))


def test_maps_are_those_of_pre_training(tmp_path):
    model = write_run("resnet_fpn", tmp_path)
    _, module, _ = load_source(str(tmp_path / "backbone.pkl"))
    view = example(module, 64, 96)[0]
    found = module(view[None])
    (expected,) = model([{"views": [{"image": view, "affine": torch.tensor([1.0, 0, 1, 0])}]}])
    assert list(found) == ["p2", "p3", "p4", "p5", "p6"]
    for key, x in found.items():
        torch.testing.assert_close(x[0], expected["features"][key], rtol=1e-2, atol=1e-3)


def test_the_description(source, tmp_path):
    cfg, module = source("mask_rcnn_fpn", "INPUT.FORMAT", "BGR")
    _, facts = export_model(cfg, module, "torchscript", tmp_path / "out", classes=["a", "b", "c"])
    assert facts["kind"] == "detector" and facts["classes"] == ["a", "b", "c"]
    assert facts["input"] == {"name": "image", "dtype": "uint8", "colours": "BGR",
                              "shape": [3, "height", "width"]}  # fmt: skip
    assert facts["normalisation"]["mean"] == cfg.MODEL.PIXEL_MEAN
    assert facts["padding"] == {"inside": True, "size_divisibility": 32}
    assert facts["resize"] == {"shortest_side": 64, "longest_side_at_most": 96}
    assert facts["torch"] == torch.__version__.split("+")[0]


def test_class_names_come_from_the_checkpoint(tmp_path):
    names = ["cell", "plate", "dot"]
    write_run("retinanet", tmp_path, labels={"thing_classes": names})
    assert load_source(str(tmp_path))[2] == names
    assert load_source(str(tmp_path / "model_final.pth"))[2] == names


def test_a_file_that_differs_is_not_kept(source, tmp_path, monkeypatch):
    cfg, module = source("resnet")
    path, _ = export_model(cfg, module, "torchscript", tmp_path / "out")
    before = path.read_bytes()
    suffix, write, read = formats.FORMATS["torchscript"]

    def wrong(path):
        return lambda x: {k: v + 1e-3 * v.max() for k, v in read(path)(x).items()}

    monkeypatch.setitem(formats.FORMATS, "torchscript", (suffix, write, wrong))
    with pytest.raises(ExportError, match=r"differ in res\d by 0.001 .*accepted: 0.0001"):
        export_model(cfg, module, "torchscript", tmp_path / "out")
    # the file of the export before is untouched, and nothing else is left
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 2


def test_without_detections_nothing_is_kept(source, tmp_path):
    cfg, module = source("retinanet", "MODEL.RETINANET.SCORE_THRESH_TEST", 0.99)
    with pytest.raises(ExportError, match="detects nothing.*SCORE_THRESH_TEST"):
        export_model(cfg, module, "torchscript", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_other_models_are_refused():
    with pytest.raises(ExportError, match="'Linear', which cannot be exported. .*GeneralizedRCNN"):
        traceable(torch.nn.Linear(1, 1))


def test_images_of_a_folder(source, tmp_path, image_folder):
    cfg, module = source("resnet")
    _, facts = export_model(cfg, module, "torchscript", tmp_path / "out", folder=str(image_folder))
    assert facts["verified"]["inputs"] == 7


def test_missing_onnx_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    cfg, module = source("resnet")
    with pytest.raises(ExportError, match=r"dense-ssl\[export\]"):
        export_model(cfg, module, "onnx", tmp_path / "out")


def example(module, height, width):
    torch.manual_seed(1)
    coarse = torch.randint(0, 256, (1, 3, 6, 6)).float()
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").byte()
    return image if module.input_name == "images" else image[0]
