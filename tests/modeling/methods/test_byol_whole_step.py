"""The whole step of BYOL where its views, its network or its batches are other than usual."""

from functools import partial

import literal_methods as literal
import pytest
from test_whole_step import check
from whole_step import COUNT, record_step

SAME = ("INPUT.VIEWS.CROP", ("random", "same"))
JOINED = ("MODEL.SSL.CONCATENATE_VIEWS", True)
ZERO = ("MODEL.RESNETS.ZERO_INIT_RESIDUAL", True)


@pytest.mark.parametrize("options", [
    SAME, (*SAME, *JOINED), ("INPUT.VIEWS.CROP", ("whole", "same")), ZERO, (*ZERO, *JOINED),
    ("INPUT.VIEWS.CROP_SAMPLER", ("clamp",)),
])  # fmt: skip
def test_byol(options, image_folder, monkeypatch):
    files = sorted(image_folder.glob("*.jpg"))[:COUNT]
    step = record_step(monkeypatch, files, "BYOL", *options)
    crops_are_the_same = all(a.crop == b.crop for a, b in zip(*step.shown))
    assert crops_are_the_same == ("INPUT.VIEWS.CROP" in options)
    joined = JOINED[0] in options
    check(step, {"BYOLObjective": partial(literal.byol, joined=joined)})
    with pytest.raises(AssertionError):
        check(step, {"BYOLObjective": partial(literal.byol, joined=not joined)})
