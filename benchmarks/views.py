"""Images per second and core of the two-view BYOL pipeline: torchvision's and DenseSSL's backends.

Every pipeline decodes a JPEG once and makes two views of it with BYOL's parameters:

    v1        torchvision transforms on PIL images, blur by ``torchvision.transforms.GaussianBlur``
    v1-pil    the same with PIL's ``ImageFilter.GaussianBlur``, as in most released code
    exact     INPUT.VIEWS.BACKEND "exact"
    fast      INPUT.VIEWS.BACKEND "fast"
    device    "fast" with INPUT.COLOR_ON_DEVICE: the workers' part
    decode    only the decoding of "exact" and "fast": the limit of both

The pipelines take turns within each round and CPU time is measured, so that other load on the
machine affects all of them alike. Views are uint8; conversion to tensors is not included.

    python benchmarks/views.py --rounds 9
    python benchmarks/views.py --images datasets/coco/val2017
"""

import argparse
import io
import random
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as T

from dense_ssl.data.views.crops import draw_crop
from dense_ssl.data.views.device_colors import pack
from dense_ssl.data.views.photometry import Photometry, PhotometrySettings, draw_photometry
from dense_ssl.data.views.render import get_renderer

SCALE, RATIO, FLIP_PROB = (0.08, 1.0), (3 / 4, 4 / 3), 0.5
# (blur, solarise) probabilities of the two views.
BLUR_SOLARIZE = ((1.0, 0.0), (0.1, 0.2))
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}


class PilBlur:
    """Gaussian blur by PIL, sigma uniform in [0.1, 2]."""

    def __call__(self, image):
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def torchvision_way(size, pil_blur):
    """Return a function from JPEG bytes to two PIL views."""
    views = []
    for blur_prob, solarize_prob in BLUR_SOLARIZE:
        blur = PilBlur() if pil_blur else T.GaussianBlur(2 * (size // 20) + 1, (0.1, 2.0))
        views.append(
            T.Compose(
                [
                    T.RandomResizedCrop(size, SCALE, RATIO, T.InterpolationMode.BICUBIC),
                    T.RandomHorizontalFlip(FLIP_PROB),
                    T.RandomApply([T.ColorJitter(**JITTER)], p=0.8),
                    T.RandomGrayscale(0.2),
                    T.RandomApply([blur], p=blur_prob),
                    T.RandomSolarize(128, p=solarize_prob),
                ]
            )
        )

    def make(jpeg):
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        return [view(image) for view in views]

    return make


def decode(jpeg):
    """Decode JPEG bytes to uint8 (H, W, 3), RGB."""
    data = np.frombuffer(jpeg, np.uint8)
    if hasattr(cv2, "IMREAD_COLOR_RGB"):  # OpenCV 4.11: saves swapping the channels
        return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def view_settings(size):
    """Return the :class:`PhotometrySettings` of the two views."""
    return [
        PhotometrySettings(
            jitter_prob=0.8,
            gray_prob=0.2,
            blur_prob=blur_prob,
            solarize_prob=solarize_prob,
            size=size,
            **JITTER,
        )
        for blur_prob, solarize_prob in BLUR_SOLARIZE
    ]


def draw_view(settings, rng, width, height):
    """Draw the box, flip and photometry of one view."""
    box = draw_crop(rng, width, height, SCALE, RATIO)
    return box, bool(rng.random() < FLIP_PROB), draw_photometry(settings, rng)


def dense_ssl_way(size, backend, seed=0, colours=True):
    """Return a function from JPEG bytes to two uint8 views, without their colours on request."""
    render, settings = get_renderer(backend), view_settings(size)
    rng = np.random.default_rng(seed)

    def make(jpeg):
        image = decode(jpeg)
        views = []
        for setting in settings:
            box, flip, photometry = draw_view(setting, rng, image.shape[1], image.shape[0])
            if not colours:
                pack(photometry, size)
                photometry = Photometry()
            views.append(render(image, box, size, "bicubic", flip, photometry))
        return views

    return make


def photo_like(rng, height=480, width=640):
    """Return uint8 (H, W, 3) with the spectrum of a photo, edges and a little noise."""
    image = np.full((height, width, 3), 128.0, np.float32)
    for octave in range(1, 8):
        rows, columns = 3 * 2**octave // 4, 2**octave
        cells = rng.normal(size=(rows, columns, 1)) + 0.4 * rng.normal(size=(rows, columns, 3))
        image += cv2.resize(cells.astype(np.float32), (width, height)) * (70.0 / octave)
    for _ in range(12):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        color = [float(level) for level in rng.integers(0, 256, 3)]
        cv2.circle(image, center, int(rng.integers(10, 90)), color, -1)
    image += rng.normal(scale=6.0, size=image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def load_jpegs(folder, limit):
    """Return the JPEG bytes of a folder's images, or of generated images if it is None."""
    if folder is None:
        rng = np.random.default_rng(0)
        images = [photo_like(rng) for _ in range(limit)]
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
        return [cv2.imencode(".jpg", image, quality)[1].tobytes() for image in images]
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"--images {folder}: contains no .jpg or .jpeg.")
    step = max(len(paths) // limit, 1)
    return [path.read_bytes() for path in paths[::step][:limit]]


def measure(ways, jpegs, rounds):
    """Return CPU milliseconds per image, {pipeline: [one per round]}."""
    for make in ways.values():
        make(jpegs[0])
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, make in ways.items():
            start = time.process_time()
            for jpeg in jpegs:
                make(jpeg)
            times[name].append((time.process_time() - start) / len(jpegs) * 1e3)
    return times


def print_speeds(times):
    """Print medians, ranges and ratios to the faster torchvision pipeline."""
    rates = {name: sorted(1e3 / each for each in series) for name, series in times.items()}
    fastest_v1 = min(("v1", "v1-pil"), key=lambda name: np.median(times[name]))
    print(f"{'':8s} {'img/s/core':>10s} {'min-max':>13s} {'ratio':>6s} {'ratio min-max':>13s}")
    for name, series in times.items():
        # one ratio per round, since both of its times saw the same load
        ratios = sorted(np.array(times[fastest_v1]) / np.array(series))
        spread = f"{rates[name][0]:.0f}-{rates[name][-1]:.0f}"
        ratio_spread = f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
        print(
            f"{name:8s} {np.median(rates[name]):10.0f} {spread:>13s} "
            f"{np.median(ratios):6.2f} {ratio_spread:>13s}"
        )
    print(f"ratio: to {fastest_v1}, the faster torchvision pipeline")


def print_distance(jpegs, size, count):
    """Print the difference between "fast" and "exact" on the same views."""
    rng, settings = np.random.default_rng(1), view_settings(size)
    exact, fast = get_renderer("exact"), get_renderer("fast")
    means, percentiles = [], []
    for index in range(count):
        image = decode(jpegs[index // 2 % len(jpegs)])
        setting = settings[index % 2]
        box, flip, photometry = draw_view(setting, rng, image.shape[1], image.shape[0])
        distance = cv2.absdiff(
            exact(image, box, size, "bicubic", flip, photometry),
            fast(image, box, size, "bicubic", flip, photometry),
        )
        means.append(distance.mean())
        percentiles.append(np.percentile(distance, 95))
    print(
        f"fast against exact, grey levels over {count} views: mean {np.mean(means):.2f}, "
        f"95th percentile {np.mean(percentiles):.1f} (mean over views); "
        f"view with the largest mean {np.max(means):.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", help="folder of JPEGs; default: generated images")
    parser.add_argument(
        "--limit", type=int, help="images used (default: 16 generated, 100 of a folder)"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=224, help="side of the views")
    parser.add_argument("--views", type=int, default=200, help="views to compare fast with exact")
    args = parser.parse_args()

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random.seed(0)
    torch.manual_seed(0)
    jpegs = load_jpegs(args.images, args.limit or (100 if args.images else 16))
    print(
        f"{len(jpegs)} images, mean {np.mean([len(j) for j in jpegs]) / 1e3:.0f} kB; "
        f"two views of {args.size}; {args.rounds} rounds"
    )
    ways = {
        "v1": torchvision_way(args.size, pil_blur=False),
        "v1-pil": torchvision_way(args.size, pil_blur=True),
        "exact": dense_ssl_way(args.size, "exact"),
        "fast": dense_ssl_way(args.size, "fast"),
        "device": dense_ssl_way(args.size, "fast", colours=False),
        "decode": decode,
    }
    print_speeds(measure(ways, jpegs, args.rounds))
    print_distance(jpegs, args.size, args.views)


if __name__ == "__main__":
    main()
