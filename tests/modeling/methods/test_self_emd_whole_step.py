"""A whole step of Self-EMD, from image files to the gradients of the maps, against loops."""

import copy

import pytest
import torch
from literal_self_emd import self_emd
from whole_step import COUNT, record_step

from dense_ssl.modeling import map_transport, passes
from dense_ssl.modeling.methods import SelfEMDObjective

# maps of 7 x 7 cells, and of 4 x 4 for the third view
VIEWS = ("MODEL.RESNETS.OUT_FEATURES", ["res4"], "MODEL.SELF_EMD.IN_FEATURE", "res4",
         "INPUT.VIEWS.SIZE", (112, 112, 56))  # fmt: skip
TWO = ((0, 1), (1, 0))

# name: (keys of MODEL.SELF_EMD, the same for the loops)
VARIANTS = {
    "default": ({}, {}),
    "two views": ({"NUM_VIEWS": 2}, {"pairs": TWO}),
    "levels": ({"PYRAMID": "levels"}, {"pyramid": "levels"}),
    "no pyramid": ({"PYRAMID": "none"}, {"pyramid": "none"}),
    "eq. 14": (
        {"MARGINALS": "mean", "VECTOR_LOSS_WEIGHT": 0.0},
        {"marginals": "mean", "vector_weight": 0},
    ),
    "eq. 15 without scale training": (
        {"NUM_VIEWS": 2, "PYRAMID": "none"}, {"pairs": TWO, "pyramid": "none"}
    ),
    "eq. 14 without scale training": (
        {"MARGINALS": "mean", "VECTOR_LOSS_WEIGHT": 0.0, "NUM_VIEWS": 2, "PYRAMID": "none"},
        {"marginals": "mean", "vector_weight": 0, "pairs": TWO, "pyramid": "none"},
    ),
    "eq. 14 beside the vector loss": ({"MARGINALS": "mean"}, {"marginals": "mean"}),
    "uniform": ({"MARGINALS": "uniform"}, {"marginals": "uniform"}),
    "unit nodes": ({"NORMALIZE_NODES": True}, {"unit_nodes": True}),
    "unit nodes of eq. 14": (
        {"NORMALIZE_NODES": True, "MARGINALS": "mean"}, {"unit_nodes": True, "marginals": "mean"}
    ),
    "vector loss": ({"VECTOR_LOSS_WEIGHT": 0.5}, {"vector_weight": 0.5}),
    "shared": ({"SHARED_HEAD": True}, {}),
    "separate": ({"SHARED_HEAD": False}, {}),
    "shared without the vector loss": (
        {"SHARED_HEAD": True, "VECTOR_LOSS_WEIGHT": 0.0}, {"vector_weight": 0}
    ),
    "through the plan": ({"DIFFERENTIATE_PLAN": True}, {"through_plan": True}),
    "through the plan alone": (
        {"DIFFERENTIATE_PLAN": True, "VECTOR_LOSS_WEIGHT": 0.0, "SHARED_HEAD": False},
        {"through_plan": True, "vector_weight": 0},
    ),
    "through the plan of eq. 14": (
        {"DIFFERENTIATE_PLAN": True, "MARGINALS": "mean", "PYRAMID": "levels"},
        {"through_plan": True, "marginals": "mean", "pyramid": "levels"},
    ),
    "joined and separate": ({"SHARED_HEAD": False}, {"joined": True}),
    "joined and shared": ({"SHARED_HEAD": True}, {"joined": True}),
    "sinkhorn": ({"REGULARIZATION": 0.2, "ITERATIONS": 3}, {"settings": (0.2, 3)}),
}  # fmt: skip


def step_of(name, monkeypatch, image_folder):
    keys = [x for k, v in VARIANTS[name][0].items() for x in (f"MODEL.SELF_EMD.{k}", v)]
    joined = ("MODEL.SSL.CONCATENATE_VIEWS", "joined" in name)
    files = sorted(image_folder.glob("*.jpg"))[:COUNT]
    return record_step(monkeypatch, files, "SelfEMD", *VIEWS, *joined, *keys)


def check(step, **keys):
    """The losses and the gradients of all maps are those of the loops."""
    maps = [{v: x["res4"].detach().clone().requires_grad_(x["res4"].requires_grad)
             for v, x in found.items()} for found in (step.online, step.target)]  # fmt: skip
    expected = self_emd(copy.deepcopy(step.model.objectives["SelfEMDObjective"]), *maps, **keys)
    assert expected.keys() == step.losses.keys()
    for name, loss in expected.items():
        assert step.losses[name].item() == pytest.approx(loss.item(), abs=1e-9), name
    sum(expected.values()).backward()
    assert len(maps[0]) == len(step.online) == 3 - ("pairs" in keys)
    for view, found in maps[0].items():
        got = step.online[view]["res4"].grad
        assert torch.allclose(got, found.grad, rtol=1e-6, atol=1e-12) and got.abs().sum() > 0
    assert not any(x["res4"].requires_grad for x in step.target.values())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_whole_step_agrees_with_its_equations(name, monkeypatch, image_folder):
    check(step_of(name, monkeypatch, image_folder), **VARIANTS[name][1])


def swap_vectors(monkeypatch):
    original = map_transport.MapTransport.masses
    monkeypatch.setattr(
        map_transport.MapTransport,
        "masses",
        lambda self, x, y, online, target: original(self, x, y, target, online),
    )


def swap_targets(monkeypatch):
    original = passes.ObjectivePasses.target
    monkeypatch.setattr(
        passes.ObjectivePasses, "target", lambda self, view: original(self, 1 - view)
    )


def pool_with_gaps(monkeypatch):
    monkeypatch.setattr(map_transport, "_POOLS", ((3, 1), (2, 2)))


def join_every_view(monkeypatch):
    original = passes.Passes.through

    def through(self, head, inputs):
        self._concatenate = True
        return original(self, head, inputs)

    monkeypatch.setattr(passes.Passes, "through", through)


def forget_the_third_view(monkeypatch):
    original = SelfEMDObjective.forward

    def forward(self, views, passes):
        self.pairs = self.pairs[:2]
        return original(self, views, passes)

    monkeypatch.setattr(SelfEMDObjective, "forward", forward)


@pytest.mark.parametrize("fault", [
    swap_vectors, swap_targets, pool_with_gaps, join_every_view, forget_the_third_view,
])  # fmt: skip
def test_the_loops_catch_a_planted_fault(fault, monkeypatch, image_folder):
    with monkeypatch.context() as planted:
        fault(planted)
        step = step_of("default", planted, image_folder)
    with pytest.raises((AssertionError, TypeError)):
        check(step)
