"""The probe on backbones whose answer is known."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.structures import BoxMode
from helpers import base_config
from torch import nn

from dense_ssl.analysis.job import Job
from dense_ssl.analysis.region_features import RegionFeatures, SquareImages, frozen_copy
from dense_ssl.analysis.region_probe import RegionProbe
from dense_ssl.analysis.regions import Regions
from dense_ssl.data.sources.label_maps import label_map_metadata
from dense_ssl.prediction.models import FeatureMaps

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
# columns of an image of 80 x 60 pixels
COLUMNS = [(0, 20), (20, 50), (50, 80)]
PIXELS = torch.full((3, 1, 1), 100.0), torch.full((3, 1, 1), 50.0)


class Colours(nn.Module):
    """Maps of the colours of 8 x 8 pixels, of nothing, and of a normalised, far away colour."""

    size_divisibility = 8

    def __init__(self):
        super().__init__()
        self.norm = nn.SyncBatchNorm(3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        colour = nn.functional.avg_pool2d(x, 8) * self.scale
        return {"colour": colour, "flat": 0 * colour, "normal": self.norm(1000 + 7 * colour)}

    def output_shape(self):
        return {x: ShapeSpec(channels=3, stride=8) for x in ("colour", "flat", "normal")}


def paint(folder, name, classes, as_map):
    image = np.zeros((60, 80, 3), np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    item = {"file_name": str(folder / f"{name}.png"), "annotations": []}
    for c, (x1, x2) in zip(classes, COLUMNS):
        image[:, x1:x2], labels[:, x1:x2] = COLOURS[c], c
        item["annotations"].append({"bbox": [x1, 0, x2, 60], "bbox_mode": BoxMode.XYXY_ABS,
                                    "category_id": int(c)})  # fmt: skip
    cv2.imwrite(item["file_name"], image[:, :, ::-1])
    if as_map:
        item["sem_seg_file_name"] = str(folder / f"{name}_map.png")
        cv2.imwrite(item["sem_seg_file_name"], labels)
        del item["annotations"]
    return item


@pytest.fixture
def painted(tmp_path, restore_catalogs):
    """A function that registers the entries "train" and "test" with boxes or label maps."""

    def build(as_map=False):
        rng = np.random.default_rng(0)
        for name, count in (("train", 9), ("test", 5)):
            dicts = [paint(tmp_path, f"{name}{i}", rng.integers(0, 3, 3), as_map)
                     for i in range(count)]  # fmt: skip
            DatasetCatalog.register(name, lambda dicts=dicts: dicts)
            meta = label_map_metadata("rgb") if as_map else {"thing_classes": list("rgb")}
            MetadataCatalog.get(name).set(**meta)

    return build


def node(*options):
    cfg = base_config("TEST.PROBE.TRAIN", "train", "TEST.PROBE.TEST", "test",
                      "TEST.PROBE.SIDE", 64, "TEST.PROBE.CELL", 16, *options)  # fmt: skip
    return cfg.TEST.PROBE


def probe(backbone, *options):
    result = RegionProbe(node(*options), backbone, *PIXELS, "RGB")
    return result, result(backbone)


@pytest.mark.parametrize("as_map", [False, True])
def test_colours_are_separated_and_a_flat_map_is_at_chance(painted, as_map):
    painted(as_map)
    built, found = probe(Colours(), "TEST.PROBE.FEATURES", ("colour", "flat"))
    assert found["linear"] == found["knn"] == found["colour/linear"] == 100
    assert found["flat/linear"] == pytest.approx(100 / 3)  # all in one class
    assert found["flat/rank"] == 0 < 1.5 < found["colour/rank"] <= 2.001
    assert built.describe().startswith("144 cells" if as_map else "27 boxes")


def test_one_level_has_no_values_of_its_own(painted):
    painted()
    assert set(probe(Colours(), "TEST.PROBE.FEATURES", ("colour",))[1]) == {
        "linear", "knn", "colour/rank"}  # fmt: skip


def test_norm_statistics_are_those_of_the_images_and_the_backbone_stays(painted):
    painted()
    backbone = Colours().train()
    backbone.norm.running_var.fill_(float("inf"))  # with it, all features would be 0
    before = {k: x.clone() for k, x in backbone.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    built, found = probe(backbone, "TEST.PROBE.FEATURES", ("normal",))
    assert found["linear"] == 100
    assert all(torch.equal(x, before[k]) for k, x in backbone.state_dict().items())
    assert all(x.training for x in backbone.modules()) and backbone.scale.requires_grad
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()

    features = RegionFeatures(backbone, ["normal"], *PIXELS)
    images = SquareImages(built.train.images, 64, "RGB")
    features.estimate_norms(images)
    pixels = torch.cat([x[0] for x in images.batches])
    maps = 1000 + 7 * nn.functional.avg_pool2d((pixels - 100.0) / 50, 8)
    assert torch.allclose(features.network.norm.running_mean, maps.mean(dim=(0, 2, 3)), rtol=1e-5)
    # boxes of whole columns: means of normalised colours
    (normal,), _ = features(images)[0].values(), None
    assert abs(normal.mean()) < 0.5


def test_a_copy_has_plain_norms_of_the_same_type():
    backbone = Colours().double()
    copied = frozen_copy(backbone)
    assert type(copied.norm).__name__ == "BatchNorm2d" and copied.norm.weight.dtype == torch.double
    copied.scale.data.fill_(3)
    assert backbone.scale == 1


def test_wrong_keys_are_named(painted):
    painted()
    with pytest.raises(ValueError, match="TEST.PROBE.FEATURES is 'res9'"):
        probe(Colours(), "TEST.PROBE.FEATURES", ("res9",))
    with pytest.raises(ValueError, match="TEST.PROBE.SIDE is 60.*such as 64"):
        probe(Colours(), "TEST.PROBE.SIDE", 60, "TEST.PROBE.CELL", 60)
    MetadataCatalog.get("test").as_dict()
    MetadataCatalog.data["test"].__dict__["thing_classes"] = ["r", "b", "g"]
    with pytest.raises(ValueError, match="same classes in the same order"):
        probe(Colours(), "TEST.PROBE.FEATURES", ("colour",))


@pytest.mark.parametrize("as_map", [False, True])
def test_the_analysis_of_finished_weights_is_the_same_probe(painted, monkeypatch, as_map):
    painted(as_map)
    cfg = base_config("MODEL.DEVICE", "cpu")
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0] * 3, [50.0] * 3
    maps = FeatureMaps(Colours(), cfg)
    monkeypatch.setattr(Job, "backbones", lambda *_: [("colours", maps)])
    size = {"side": 64, "cell": 16}
    analysis = Regions(test="test", levels="colour,flat", **size)
    numbers, figures = analysis.run(Job(data="train"))
    found = numbers["colours"]
    expected = probe(Colours(), "TEST.PROBE.FEATURES", ("colour", "flat"))[1]
    assert found["all"] == {x: expected[x] for x in ("linear", "knn")}
    assert found["flat"]["rank"] == expected["flat/rank"]
    assert found["colour"]["knn"] == 100 and found["flat"]["linear"] == pytest.approx(100 / 3)
    (panel, *_), one = figures[""].axes, Regions(test="test", levels="colour", **size)
    assert {x.get_text() for x in panel.get_legend().texts} == {"colours"}
    assert set(one.run(Job(data="train"))[0]["colours"]) == {"colour"}
    with pytest.raises(ValueError, match="--test"):
        Regions().run(Job(data="train"))
