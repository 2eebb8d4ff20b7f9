"""Objects and segments on a photo: one colour for each class, readable names."""

import cv2
import numpy as np

from .captions import draw_captions, font, font_size
from .colours import class_colours

# Small images are enlarged, so that lines and names leave something to see of them.
_SHORTER_SIDE = 600
_LARGEST_SCALE = 4
_SHARE_OF_COLOUR = 0.4  # in masks and segments


def enlargement(image):
    """Return the whole number by which a picture of an image (H, W, 3) is larger than it."""
    return int(np.clip(-(-_SHORTER_SIDE // min(image.shape[:2])), 1, _LARGEST_SCALE))


def draw_instances(image, instances, labels, scale=None):
    """Draw detections, the best ones on top.

    Args:
        image: uint8 (H, W, 3) in RGB.
        instances: detectron2's Instances on the CPU, with ``pred_boxes``, ``pred_classes`` and, if
            there are, ``scores``, ``pred_masks`` and ``pred_keypoints``.
        labels: fields of detectron2's metadata: ``thing_classes`` and, if there are,
            ``thing_colors``, ``keypoint_names`` and ``keypoint_connection_rules``.
        scale: drawing pixels per image pixel; default: :func:`enlargement`.

    Returns:
        uint8 (scale * H, scale * W, 3) in RGB.
    """
    names = labels["thing_classes"]
    colours = class_colours(len(names), labels.get("thing_colors"))
    scale = scale or enlargement(image)
    picture = _enlarged(image, scale)
    boxes = instances.pred_boxes.tensor.numpy() * scale
    classes = instances.pred_classes.tolist()
    scores = instances.scores.tolist() if instances.has("scores") else None
    order = np.argsort(scores)[::-1].tolist() if scores else list(range(len(classes)))
    width = max(round(min(picture.shape[:2]) / 300), 1)
    captions = []
    for i in reversed(order):
        colour = colours[classes[i]]
        if instances.has("pred_masks"):
            _draw_mask(picture, instances.pred_masks[i].numpy(), colour, width)
        x1, y1, x2, y2 = np.round(boxes[i]).astype(int).tolist()
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, width, cv2.LINE_AA)
        if instances.has("pred_keypoints"):
            points = instances.pred_keypoints[i].numpy().copy()
            points[:, :2] *= scale
            _draw_keypoints(picture, points, labels, colour, width)
    for i in order:
        score = f" {100 * scores[i]:.0f}%" if scores else ""
        captions.append((names[classes[i]] + score, colours[classes[i]], boxes[i].tolist()))
    return draw_captions(picture, captions)


def draw_segments(image, segments, labels, scale=None):
    """Colour the classes of a segmentation; a legend below names those that are there.

    Args:
        image: uint8 (H, W, 3) in RGB.
        segments: (H, W) class numbers.
        labels: fields of detectron2's metadata: ``stuff_classes`` and, if there are,
            ``stuff_colors``.
        scale: drawing pixels per image pixel; default: :func:`enlargement`.
    """
    names = labels["stuff_classes"]
    colours = np.array(class_colours(len(names), labels.get("stuff_colors")), np.uint8)
    scale = scale or enlargement(image)
    picture = _enlarged(image, scale)
    large = segments.repeat(scale, 0).repeat(scale, 1)
    picture = cv2.addWeighted(picture, 1 - 0.55, colours[large], 0.55, 0)
    shares = np.bincount(segments.ravel(), minlength=len(names)) / segments.size
    shown = [i for i in np.argsort(-shares) if shares[i] > 0]
    return np.concatenate([picture, _legend(picture.shape[1], font_size(picture), [
        (f"{names[i]} {100 * shares[i]:.0f}%", tuple(colours[i].tolist())) for i in shown
    ])])  # fmt: skip


def _legend(width, size, entries):
    """Return a white strip (height, width, 3) with texts in boxes of their colours."""
    x, y, gap, places = 4, 4, 8, []
    line = sum(font(size).getmetrics()) + 6
    for text, colour in entries:
        length = font(size).getlength(text) + gap
        if x > 4 and x + length > width:
            x, y = 4, y + line
        places.append((text, colour, (x, y, x + length, y + line)))
        x += length
    strip = np.full((y + line + 4, width, 3), 255, np.uint8)
    # the box's bottom is where its text would go first, and inside is free
    return draw_captions(strip, [(t, c, (b[0], b[3] - 4, b[2], b[3])) for t, c, b in places], size)


def _enlarged(image, scale):
    if scale == 1:
        return np.ascontiguousarray(image).copy()
    height, width = image.shape[:2]
    size = (round(scale * width), round(scale * height))
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def _draw_mask(picture, mask, colour, width):
    """Tint a mask (H, W) of the image's size, and draw its outline, in place."""
    size = picture.shape[1::-1]
    large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inside = large > 0
    mixed = picture[inside] * (1 - _SHARE_OF_COLOUR) + np.array(colour) * _SHARE_OF_COLOUR
    picture[inside] = mixed.astype(np.uint8)
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, colour, width, cv2.LINE_AA)


def _draw_keypoints(picture, points, labels, colour, width, min_score=0.05):
    """Draw the points (K, 3: x, y, score) of an object and their connections, in place."""
    names = list(labels.get("keypoint_names", range(len(points))))
    places = {
        name: (round(float(x)), round(float(y)))
        for name, (x, y, score) in zip(names, points)
        if score > min_score
    }
    for first, second, _ in labels.get("keypoint_connection_rules", ()):
        if first in places and second in places:
            cv2.line(picture, places[first], places[second], colour, 2 * width, cv2.LINE_AA)
    for place in places.values():
        cv2.circle(picture, place, 3 * width, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, place, 2 * width, colour, -1, cv2.LINE_AA)
