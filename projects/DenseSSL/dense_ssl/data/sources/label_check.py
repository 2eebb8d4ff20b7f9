"""What a check of labels finds, whatever their form."""

import dataclasses
import math

# Boxes may leave their image by so many pixels: some tools round.
MARGIN = 2


@dataclasses.dataclass
class LabelCheck:
    """What labels hold, and what is wrong or odd about them; plain values, as json keeps them.

    Attributes:
        error: why nothing can be learned from them, or "".
        notes: what is odd, sentences without a full stop.
        mask_error, mask_notes: the same of what models with masks alone read.
        keypoint_error, keypoint_notes: the same of models with keypoints.
        counts: {"objects", "crowds", "difficult", "polygons", "RLEs" (masks of objects by their
            form), "without mask", "with keypoints", "label maps": numbers}, those that there are.
        classes: {name: number of objects, or of label maps with it}.
    """

    error: str = ""
    notes: list = dataclasses.field(default_factory=list)
    mask_error: str = ""
    mask_notes: list = dataclasses.field(default_factory=list)
    keypoint_error: str = ""
    keypoint_notes: list = dataclasses.field(default_factory=list)
    counts: dict = dataclasses.field(default_factory=dict)
    classes: dict = dataclasses.field(default_factory=dict)


class Oddities:
    """Counts what is odd and keeps the first example of each kind."""

    def __init__(self):
        self._found = {}  # kind: [number, first example]

    def add(self, kind, example):
        """Count one; ``kind`` is a text with "{count}", such as "{count} boxes have no area"."""
        self._found.setdefault(kind, [0, example])[0] += 1

    def count(self, kind):
        """Return the number of a kind."""
        return self._found.get(kind, (0,))[0]

    def notes(self, hints=(), **numbers):
        """Return a sentence on each kind.

        Args:
            hints: {kind: text that follows its sentence}. numbers: others that kinds name.
        """
        return [
            f"{kind.format(count=count, **numbers)}, first {example}{dict(hints).get(kind, '')}"
            for kind, (count, example) in self._found.items()
        ]


class BoxCheck:
    """Counts boxes that have no area, or leave their image."""

    _EMPTY = "{count} of {total} boxes have no area"
    _OUTSIDE = "{count} of {total} boxes leave their image"

    def __init__(self):
        self._total, self._largest, self._found = 0, -math.inf, Oddities()
        self._may_be_corners = True

    def add(self, numbers, width, height, example, corners=False):
        """Count one.

        Args:
            numbers: four finite ones, as in the file.
            width, height: of the image, None if not known.
            example: names the box: "annotation 7".
            corners: the numbers are x1, y1, x2, y2; else x, y, width, height.
        """
        left, top, right, bottom = numbers
        may_be_corners = not corners and right > left and bottom > top
        if not corners:
            right, bottom = left + right, top + bottom
        self._total += 1
        self._largest = max(self._largest, *numbers)
        example = f"{example} with {list(numbers)}"
        if right <= left or bottom <= top:
            self._found.add(self._EMPTY, example)
        elif min(left, top) < -MARGIN or (
            width and height and (right > width + MARGIN or bottom > height + MARGIN)
        ):
            self._found.add(self._OUTSIDE, example)
            self._may_be_corners &= may_be_corners

    def notes(self):
        """Return what is odd, sentences."""
        hint = ". A bbox is x, y, width, height: are these x1, y1, x2, y2?"
        hints = {self._OUTSIDE: hint} if self._may_be_corners else {}
        if self._found.count(self._EMPTY) == self._total:
            hints[self._EMPTY] = ". Are the corners exchanged? Nothing can be learned from them"
        notes = self._found.notes(hints, total=self._total)
        if self._total and not self._found.count(self._EMPTY) and self._largest <= 1:
            notes.append("no number of a bbox is above 1: are they shares of the image's sides? "
                         "They must be pixels")  # fmt: skip
        return notes
