"""Transport between views: an oracle's mass arrives, noise arrives by chance, heads are found."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_backbone, build_model
from helpers import photo, tiny_config
from oracle_maps import GivenSamples, OracleMaps, coordinate_image, places, random_features

from dense_ssl import load_backbone
from dense_ssl.analysis.transport import Transport, load_heads
from dense_ssl.checkpoint import Checkpointer, backbone_settings
from dense_ssl.visualization.transport import middle_cell

SMALL = {"side": 128, "colours": "none", "crop_scale": 1.0, "marginals": "uniform",
         "regularization": 1e-3, "iterations": 300, "heads": False}  # fmt: skip


def measure(maps, count=4, **options):
    samples = GivenSamples([(coordinate_image(200, 200), None)] * count)
    return Transport(images=count, **{**SMALL, **options}).measure(maps, samples)


def test_the_mass_of_places_arrives():
    # views of whole images, some of them mirrored: every cell has its place
    outcome = measure(OracleMaps(places, 16, "res5"))
    assert outcome.numbers["arrived"] > 95 and outcome.numbers["images"] == 4
    assert outcome.numbers["chance"] == pytest.approx(100 / 64)
    assert not outcome.numbers["heads"]
    flow = outcome.drawn[0]
    assert float(flow.plan.sum()) == pytest.approx(1, abs=1e-4) and flow.valid.all()


@pytest.mark.parametrize("fault", [lambda x: x.flip(2), lambda x: x.transpose(1, 2)])
def test_a_fault_of_the_geometry_shows(fault):
    number = iter(range(100))
    maps = OracleMaps(lambda x: places(fault(x) if next(number) % 2 else x), 16, "res5")
    assert measure(maps).numbers["arrived"] < 60


def test_right_places_of_crops_are_in_the_second_view():
    flow = measure(OracleMaps(places, 16, "res5"), 1, crop_scale=0.4).drawn[0]
    first, second = (x.views for x in flow.pair)
    for cell, (point, valid) in enumerate(zip(flow.points.tolist(), flow.valid.tolist())):
        centre = torch.tensor([[[16 * (cell % 8) + 8.0, 16 * (cell // 8) + 8.0]]]).double()
        x, y = second.to_view(first.to_image(centre))[0, 0].tolist()
        assert point == pytest.approx([x / 16 - 0.5, y / 16 - 0.5])
        assert valid == (0 <= x < 128 and 0 <= y < 128)


def test_random_features_arrive_by_chance():
    maps = OracleMaps(random_features(128), 16, "res5")
    numbers = measure(maps, 30, regularization=0.05, iterations=50).numbers
    assert numbers["arrived"] == pytest.approx(numbers["chance"], rel=0.25)


def test_the_cell_in_the_figure_is_in_the_middle_of_what_both_show():
    flow = measure(OracleMaps(places, 16, "res5"), 1).drawn[0]
    flow.valid = torch.zeros(64, dtype=torch.bool)
    flow.valid[[0, 2, 16, 18, 9]] = True  # corners of a square, and its centre
    assert middle_cell(flow) == 9


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of Self-EMD and of BYOL, with their heads."""
    folder = tmp_path_factory.mktemp("transport")
    for i, method in enumerate(("SelfEMD", "BYOL")):
        cfg = tiny_config(method, "unused", folder / method)
        torch.manual_seed(10 + i)
        (folder / method).mkdir()
        (folder / method / "config.yaml").write_text(cfg.dump())
        model = build_model(cfg)
        for x in model.target_backbone.parameters():
            x.data += 0.01  # training has moved it away from the online network
        checkpointer = Checkpointer(model, str(folder / method), settings=backbone_settings(cfg))
        checkpointer.save("model_final")
    return folder


def maps_of(path):
    maps = load_backbone(path)
    maps.file = str(path)
    return maps


def test_a_checkpoint_of_self_emd_is_used_with_its_heads(runs):
    maps = maps_of(runs / "SelfEMD" / "model_final.pth")
    torch.manual_seed(0)
    objective, target = load_heads(maps)
    torch.manual_seed(0)
    model = build_model(maps.cfg)
    saved = torch.load(maps.file, weights_only=True)["model"]
    key = next(x for x in saved if x.startswith("objectives.") and x.endswith("weight"))
    name = key.split(".", 2)[2]
    assert torch.equal(objective.state_dict()[name], saved[key])
    assert not torch.equal(model.state_dict()[key], saved[key])
    key = next(x for x in saved if x.startswith("target_backbone.") and x.endswith("conv1.weight"))
    own = target.backbone.state_dict()[key.partition(".")[2]]
    assert torch.equal(own, saved[key])
    image = photo(np.random.default_rng(0), 64, 64)
    outcome = Transport(side=64, images=1).measure(maps, GivenSamples([(image, None)]))
    assert outcome.numbers["heads"]


def test_other_files_have_no_heads(runs):
    for path in (runs / "SelfEMD" / "backbone.pkl", runs / "BYOL" / "model_final.pth"):
        assert load_heads(maps_of(path)) is None
    maps = maps_of(runs / "SelfEMD" / "backbone.pkl")
    path = runs / "SelfEMD" / "only_backbone.pth"
    torch.save({"model": build_backbone(maps.cfg).state_dict()}, path)
    maps.file = str(path)
    assert load_heads(maps) is None
    maps.file = ""  # random weights
    assert load_heads(maps) is None
