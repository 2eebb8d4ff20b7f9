"""Contrast and colours of the report: WCAG AA, and lines that colour-blind readers tell apart."""

import itertools
import re

import numpy as np
import pytest
from helpers import ROOT

STYLE = ROOT / "projects/DenseSSL/dense_ssl/reports/html/assets/report.css"
# What red-blind, green-blind and blue-blind readers see of linear RGB: Machado, Oliveira and
# Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009.
SIGHT = {
    "normal": np.eye(3),
    "red-blind": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                  [-0.003882, -0.048116, 1.051998]],
    "green-blind": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                    [-0.011820, 0.042940, 0.968881]],
    "blue-blind": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


@pytest.fixture(params=["light", "dark"])
def colours(request):
    """{name: linear RGB} of a theme."""
    light, dark = STYLE.read_text().split(':root[data-theme="dark"]')
    text = light if request.param == "light" else dark.split("}")[0]
    found = re.findall(r"--(\w+): #([0-9a-f]{3,6});", text)
    return {name: linear(value) for name, value in found}


def linear(digits):
    if len(digits) == 3:
        digits = "".join(2 * x for x in digits)
    value = np.array([int(digits[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    low, high = sorted(float(x @ TO_XYZ[1]) for x in (first, second))
    return (high + 0.05) / (low + 0.05)


def lab(value):
    ratio = TO_XYZ @ value.clip(0, 1) / WHITE
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("text", ["ink", "muted", "accent"])
@pytest.mark.parametrize("ground", ["page", "card", "soft"])
def test_texts_have_the_contrast_of_aa(colours, text, ground):
    assert contrast(colours[text], colours[ground]) >= 4.5


def test_lines_stand_out_from_their_ground(colours):
    for k in range(8):
        assert contrast(colours[f"c{k}"], colours["card"]) >= 3, k


@pytest.mark.parametrize("sight", SIGHT)
def test_lines_differ_for_every_sight(colours, sight):
    seen = [lab(np.array(SIGHT[sight]) @ colours[f"c{k}"]) for k in range(8)]
    distances = {(a, b): np.linalg.norm(seen[a] - seen[b])
                 for a, b in itertools.combinations(range(8), 2)}  # fmt: skip
    assert min(distances.values()) > 20, distances
