"""What an objective must be is checked, with messages that name the class."""

import subprocess
import sys

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from helpers import random_batch, tiny_config
from torch import nn

from dense_ssl.engine import UpdateTarget
from dense_ssl.modeling import Objective, Pretrainer
from dense_ssl.modeling.composition import build_objectives, entries_of
from dense_ssl.modeling.objective import OBJECTIVE_REGISTRY, ObjectiveRegistry


class Fine(Objective):
    node, label = "BYOL", "fine"
    online_views, target_views = (0,), ()

    def __init__(self, cfg=None, shapes=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, views, passes):
        return {"loss_fine": self.weight * passes.online(0)["res5"].mean()}


def variant(**attributes):
    return type("Mine", (Fine,), attributes)


@pytest.mark.parametrize("kind, message", [
    (variant(node=""), "Mine.node is ''"), (variant(label=""), "Mine.label is ''"),
    (type("Mine", (Objective,), {"node": "BYOL", "label": "mine"}), "Mine has no forward"),
    (type("Mine", (nn.Module,), {}), "Mine must be a subclass"), (lambda: 0, "must be a subclass"),
])  # fmt: skip
def test_an_incomplete_class_is_refused_when_it_is_registered(kind, message):
    with pytest.raises(TypeError, match=message):
        ObjectiveRegistry("TEST").register(kind)


@pytest.mark.parametrize("names, message", [
    ("BYOLObjective", r"Mine.objective_names is the string 'BYOLObjective': write a tuple"),
    (("PObjective",), r"Mine.objective_names is \('PObjective',\).*IMPORTS"),
    (("BYOLObjective", "BYOLObjective"), "must be different"),
])  # fmt: skip
def test_wrong_names_of_objectives_name_the_class(names, message):
    kind = type("Mine", (Pretrainer,), {"objective_names": names})
    with pytest.raises(ValueError, match=message):
        entries_of(kind, tiny_config("BYOL", "unused", "unused"))


def model_of(monkeypatch, kind):
    """A model that trains one objective."""
    monkeypatch.setitem(OBJECTIVE_REGISTRY._obj_map, "Mine", kind)
    options = ("MODEL.SSL.OBJECTIVES", ("Mine",))
    torch.manual_seed(0)
    return build_model(tiny_config("MultiObjective", "unused", "unused", *options))


@pytest.mark.parametrize("returned, message", [
    ({"loss_a": torch.ones(3)}, r"'loss_a' \(of shape \(3,\)\): only scalar tensors"),
    ({"top1": torch.ones(())}, "'top1'"),
    ({"loss_a": 1.0}, r"'loss_a' \(float\): only scalar tensors"),
    (torch.ones(()), "must return a dict"), ({}, "must return a dict"),
])  # fmt: skip
def test_only_losses_come_back(monkeypatch, returned, message):
    model = model_of(monkeypatch, variant(forward=lambda self, views, passes: returned))
    with pytest.raises(TypeError, match=f"Mine.*{message}"):
        model(random_batch(4))


def test_a_loss_may_be_negative(monkeypatch):
    def forward(self, views, passes):
        return {"loss_mine": -3 * self.weight}

    assert model_of(monkeypatch, variant(forward=forward))(random_batch(4))["loss_mine"] == -3


@pytest.mark.parametrize("ask, attribute", [
    (lambda p: p.online(1), "online_views"), (lambda p: p.target(0), "target_views"),
])  # fmt: skip
def test_a_pass_must_be_announced(monkeypatch, ask, attribute):
    def forward(self, views, passes):
        ask(passes)

    model = model_of(monkeypatch, variant(forward=forward))
    with pytest.raises(RuntimeError, match=f"Mine asks for a pass of view .* {attribute}"):
        model(random_batch(4))


@pytest.mark.parametrize("views", [0, [0, 1], ("0",), (-1,), (0.0,)])
def test_views_must_be_a_tuple_of_indices(monkeypatch, views):
    with pytest.raises(TypeError, match="Mine.online_views is"):
        model_of(monkeypatch, variant(online_views=views))


def test_two_objectives_must_not_write_the_same_log(monkeypatch):
    for name in ("A", "B"):
        monkeypatch.setitem(OBJECTIVE_REGISTRY._obj_map, name, variant())
    with pytest.raises(ValueError, match="Mine.label 'fine'"):
        build_objectives(tiny_config("BYOL", "unused", "unused"), {}, ("A", "B"))


@pytest.mark.parametrize("method", ["BYOL", "MoCoV2"])
def test_a_loop_that_forgets_the_target_is_stopped_at_its_second_step(method):
    torch.manual_seed(0)
    model = build_model(tiny_config(method, "unused", "unused"))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):  # two parts of one step
        sum(model(random_batch(4)).values()).backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"call\s+model.after_step\(momentum\)"):
        model(random_batch(4))
    model.after_step(0.9)
    model(random_batch(4))


def test_loading_weights_is_no_step():
    model = build_model(tiny_config("BYOL", "unused", "unused"))
    model(random_batch(4))
    model.load_state_dict(model.state_dict())
    model(random_batch(4))


def test_the_hook_suits_detectron2s_own_trainer():
    torch.manual_seed(0)
    model = build_model(tiny_config("MoCoV2", "unused", "unused"))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = [random_batch(4, seed=i) for i in range(4)]
    trainer = SimpleTrainer(model, batches, optimizer)
    trainer.register_hooks([UpdateTarget(model, 0.5, "constant")])
    before = [x.clone() for x in model.target_backbone.parameters()]
    with EventStorage():
        trainer.train(0, 3)
    assert any(not torch.equal(x, y) for x, y in zip(before, model.target_backbone.parameters()))
    assert model.objectives["MoCoObjective"].contrast.bank.enqueued == 12


def test_one_import_registers_everything():
    """As in other projects of detectron2: no further import before ``build_model``."""
    code = (
        "from dense_ssl import add_dense_ssl_config\n"
        "from detectron2.config import get_cfg\n"
        "from detectron2.modeling import META_ARCH_REGISTRY\n"
        "cfg = get_cfg()\n"
        "add_dense_ssl_config(cfg)\n"
        "assert 'PIXPRO' in cfg.MODEL and 'PixPro' in META_ARCH_REGISTRY\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
