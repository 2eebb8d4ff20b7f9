"""Shrinking photos: how far the "fast" backend is from the "exact" one, and what it costs.

Each photo is shrunk as a whole by several factors, by

    plain     OpenCV's bicubic resize without antialias
    fast      INPUT.VIEWS.BACKEND "fast"
    exact     INPUT.VIEWS.BACKEND "exact"

Printed are the mean absolute differences from "exact" in grey levels, and the CPU time of a resize
divided by that of "exact". With ``--megapixels`` the photos are enlarged first and get sensor
noise, as photos of cameras have it.

    python benchmarks/shrinking.py --images datasets/coco/val2017
    python benchmarks/shrinking.py --images datasets/coco/val2017 --megapixels 12 --limit 5
"""

import argparse
import time

import cv2
import numpy as np
import torch
from views import decode, load_jpegs

from dense_ssl.data.views import render_exact, render_fast

FACTORS = (1, 1.25, 1.5, 1.75, 1.9, 1.99, 2.01, 2.5, 3, 4, 6, 8, 12, 16)


def plain(image, size, interpolation):
    """Resize without antialias."""
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


WAYS = {"plain": plain, "fast": render_fast.resize, "exact": render_exact.resize}


def square(image):
    """The central square of an image."""
    side = min(image.shape[:2])
    top, left = ((x - side) // 2 for x in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def as_by_camera(image, megapixels, rng):
    """Enlarge an image and add noise of 8 grey levels."""
    scale = (megapixels * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(scale=8.0, size=image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def measure(images, factor):
    """Return means over the images: {way: distance from "exact"}, {way: CPU time of a resize}."""
    distances, times = ({x: [] for x in WAYS} for _ in range(2))
    for image in images:
        size, views = round(len(image) / factor), {}
        for name, resize in WAYS.items():
            start = time.process_time()
            views[name] = resize(image, size, "bicubic")
            times[name].append(time.process_time() - start)
        for name, view in views.items():
            distances[name].append(cv2.absdiff(view, views["exact"]).mean())
    return tuple({k: np.mean(x) for k, x in each.items()} for each in (distances, times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", help="folder of JPEGs; default: generated images")
    parser.add_argument("--limit", type=int, default=40, help="images used")
    parser.add_argument("--megapixels", type=float, default=0, help="enlarge the photos to this")
    args = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    images = [decode(x) for x in load_jpegs(args.images, args.limit)]
    if args.megapixels:
        images = [as_by_camera(x, args.megapixels, rng) for x in images]
    images = [square(x) for x in images]
    measure(images[:1], FACTORS[0])
    print(f"{len(images)} squares, mean side {np.mean([len(x) for x in images]):.0f} pixels")
    print("factor   distance from exact   CPU time / exact")
    print("            plain      fast       plain    fast")
    for factor in FACTORS:
        distance, seconds = measure(images, factor)
        share = {x: seconds[x] / seconds["exact"] for x in WAYS}
        print(
            f"{factor:6.2f} {distance['plain']:10.2f} {distance['fast']:9.2f} "
            f"{share['plain']:11.2f} {share['fast']:7.2f}"
        )


if __name__ == "__main__":
    main()
