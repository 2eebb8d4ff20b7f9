"""The analysis of the health of features: known backbones, angles of a run, the command."""

import json

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from helpers import CONFIGS, TINY, photo, tiny_config
from PIL import Image
from tool_helpers import load_tool
from torch import nn
from torch.nn import functional as F

from dense_ssl.analysis.feature_health import FeatureHealth, angles_of, level_health
from dense_ssl.analysis.health import alignment, effective_rank, singular_values
from dense_ssl.analysis.samples import Samples
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.config import default_config
from dense_ssl.prediction.models import FeatureMaps
from dense_ssl.visualization.health import draw_health


class Known(nn.Module):
    """Maps of the colours, of a constant, and of random numbers that only depend on the place."""

    size_divisibility = 0

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("places", torch.randn(1, 6, 8, 8, generator=generator))

    def forward(self, x):
        colour = F.avg_pool2d(x, 8)
        return {"colour": colour, "constant": torch.ones_like(colour),
                "places": self.places.expand(len(x), -1, -1, -1)}  # fmt: skip

    def output_shape(self):
        channels = {"colour": 3, "constant": 3, "places": 6}
        return {k: ShapeSpec(channels=c, stride=8) for k, c in channels.items()}


@pytest.fixture
def photos(tmp_path, restore_catalogs):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(photo(rng, 90, 70)).save(folder / f"{i}.png")
    return f"folder:{folder}"


def measure(photos, **options):
    cfg = default_config()
    cfg.MODEL.DEVICE = "cpu"
    maps = FeatureMaps(Known(), cfg)
    maps.file = ""
    return FeatureHealth(side=64, **options).measure(maps, Samples(photos, 12)).numbers["levels"]


def test_backbones_with_a_known_answer(photos):
    found = measure(photos, colours="none")
    assert list(found) == ["colour", "constant", "places"]
    assert found["constant"]["rank"] == found["constant"]["cell_rank"] == 0
    assert found["constant"]["alignment"] == found["constant"]["uniformity"] == 0
    # images are equal there, but not their cells
    assert found["places"]["rank"] == found["places"]["alignment"] == 0
    assert 3 < found["places"]["cell_rank"] <= 6
    assert found["places"]["cell_spread"] > 0.5 > 1e-6 > found["places"]["spread"]
    colour = found["colour"]
    assert 1 < colour["rank"] <= 3 == colour["most"] and 0 < colour["alignment"] < 4
    assert colour["spectrum"][0] == 1 and colour == measure(photos, colours="none")["colour"]
    assert measure(photos, colours="byol")["colour"]["alignment"] > colour["alignment"]
    assert list(measure(photos, levels="places,colour")) == ["places", "colour"]
    with pytest.raises(ValueError, match="--levels is 'res9'"):
        measure(photos, levels="res9")


class Sided(Known):
    """A map whose cells are all different: a number of its own for each place and channel."""

    def forward(self, x):
        places = torch.arange(2.0 * 64).view(1, 2, 8, 8) + x.mean(dim=(1, 2, 3), keepdim=True)
        return {"places": places}

    def output_shape(self):
        return {"places": ShapeSpec(channels=2, stride=8)}


def test_a_vector_is_the_mean_of_a_map_or_one_of_its_cells(photos):
    cfg = default_config()
    cfg.MODEL.DEVICE = "cpu"
    maps = FeatureMaps(Sided(), cfg)
    (sample, *_), health = Samples(photos, 3), FeatureHealth(side=64, cells=50)
    first, second, cells = health._vectors(maps, sample, ["places"])["places"]
    shift = first[0] - 31.5  # the mean of 0 to 63
    assert first == pytest.approx([31.5 + shift, 95.5 + shift]) and not np.allclose(first, second)
    assert cells.shape == (50, 2)
    assert cells[:, 1] - cells[:, 0] == pytest.approx(64, abs=1e-4)  # channels of one place
    assert cells[:, 0].min() < first[0] - 16 and first[0] + 16 < cells[:, 0].max()


def test_the_numbers_of_a_level():
    rng = np.random.default_rng(0)
    (first, second), cells = rng.normal(size=(2, 9, 4)), rng.normal(size=(9, 2, 4))
    found = level_health(first, second, cells)
    assert found["alignment"] == alignment(first, second)
    assert found["cell_rank"] == effective_rank(singular_values(cells.reshape(18, 4)))
    assert found["rank"] == effective_rank(singular_values(first)) and found["most"] == 4


def test_angles_are_those_at_the_time_of_the_file(tmp_path):
    rows = [{"iteration": 19, "backbone/angle": 1.0, "backbone/res2_angle": 1.5},
            {"iteration": 29, "lr": 1.0},
            {"iteration": 39, "backbone/angle": 2.0, "backbone/res2_angle": 2.5}]  # fmt: skip
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, rows)))
    for name, iteration in (("early", 29), ("late", 39), ("first", 9)):
        torch.save({"model": {}, "iteration": iteration}, tmp_path / f"{name}.pth")
    assert angles_of(str(tmp_path / "early.pth")) == {
        "angles": {"res2": 1.5}, "angles_iteration": 19}  # fmt: skip
    assert angles_of(str(tmp_path / "late.pth"))["angles"] == {"res2": 2.5}
    assert angles_of(str(tmp_path / "first.pth")) == angles_of("") == {}


def test_every_level_and_number_is_drawn():
    rng = np.random.default_rng(0)
    level = level_health(*rng.normal(size=(2, 9, 4)), rng.normal(size=(9, 2, 4)))
    figure = draw_health({"scrl": {"res4": level, "res5": level}, "random": {"res5": level}})
    lines = [len(x.lines) for x in figure.axes]
    assert lines == [1, 2] + [2] * 5
    assert len(figure.axes[0].lines[0].get_ydata()) == 4


def test_the_command(photos, tmp_path, capsys):
    cfg = tiny_config("BYOL", "unused", tmp_path)
    Checkpointer(build_model(cfg), str(tmp_path), settings=backbone_settings(cfg)).save("model")
    status = load_tool("analyze").main([
        "health", "--weights", f"tiny={tmp_path / 'backbone.pkl'}", "--data", photos,
        "--images", "6", "--side", "64", "--norm-images", "4", "--output", str(tmp_path / "out"),
        "--config-file", str(CONFIGS / "Base-Pretrain.yaml"), *map(str, TINY),
    ])  # fmt: skip
    assert status == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "health.json").read_text())["results"]
    assert list(results) == ["tiny", "random"] and results["tiny"]["levels"]["res5"]["rank"] > 0
    assert (tmp_path / "out" / "health.png").stat().st_size > 1000
