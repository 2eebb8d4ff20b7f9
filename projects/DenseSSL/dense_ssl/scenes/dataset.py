"""A folder of scenes on disk, labelled ones with COCO annotations.

Layout of the folder::

    unlabeled/000000.png ...             images only
    train/000000.png ..., val/...
    annotations/instances_train.json     boxes, masks (compressed RLE) and classes
    annotations/instances_val.json
    scenes.json                          the parameters; present only when all else is complete

Images are PNG: no codec changes their pixels. Masks are RLE because polygons cannot be exact, so
train on them with ``INPUT.MASK_FORMAT: "bitmask"``.
"""

import functools
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pycocotools.mask
from PIL import Image
from tqdm import tqdm

from .scene import draw_scene
from .spec import SPLITS

# Raise it with every change that alters a pixel or an annotation.
GENERATOR_VERSION = 1
MAX_IMAGES = 1_000_000
# Starting a process costs as much as drawing a few hundred scenes.
SCENES_PER_PROCESS = 500
DONE, BEGUN = "scenes.json", "scenes.partial.json"


def write_scenes(output, spec, num_unlabeled, num_train, num_val, processes=None):
    """Write a data set of scenes, unless the folder holds the same one already.

    A run that was interrupted is started over. Every image depends on ``spec``, its split and its
    index only, so more images, or more processes, never change one.

    Args:
        output: folder; made if needed.
        spec: :class:`.spec.SceneSpec`.
        num_unlabeled, num_train, num_val: numbers of images, 0 included.
        processes: how many to draw with; by default one per core that this process may use.

    Returns:
        True if the scenes were drawn, False if they were there.

    Raises:
        FileExistsError: the folder holds other scenes, or files that this function did not write.
    """
    output = Path(output)
    counts = dict(zip(SPLITS, (num_unlabeled, num_train, num_val)))
    manifest = build_manifest(spec, counts)
    if (output / DONE).exists():
        check_same(output, manifest)
        return False
    begin(output, manifest)
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    labels = {split: [] for split in SPLITS}
    for split, found in draw_all(functools.partial(save_scene, output, spec), jobs, processes):
        labels[split].append(found)
    for split in ("train", "val"):
        text = json.dumps(coco_annotations(spec, labels[split]))
        (output / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")
    os.replace(output / BEGUN, output / DONE)
    return True


def build_manifest(spec, counts):
    """The parameters that decide every byte of a data set, as they are stored.

    Args:
        spec: :class:`.spec.SceneSpec`.
        counts: dict from split to number of images.
    """
    for split, count in counts.items():
        if not 0 <= count <= MAX_IMAGES:
            raise ValueError(f"num_{split} must be between 0 and {MAX_IMAGES}, got {count}.")
    return {
        "generator_version": GENERATOR_VERSION,
        "size": list(spec.size),
        "classes": list(spec.class_names),
        "max_objects": spec.max_objects,
        "seed": spec.seed,
        **{f"num_{split}": count for split, count in counts.items()},
    }


def check_same(output, manifest):
    """Raise FileExistsError if the finished data set in ``output`` has another manifest."""
    found = json.loads((output / DONE).read_text(encoding="utf-8"))
    keys = sorted(key for key in {*found, *manifest} if found.get(key) != manifest.get(key))
    if keys:
        raise FileExistsError(
            f"{output} holds scenes of other parameters ({', '.join(keys)} differ, see {DONE}). "
            "Choose another folder, or delete this one to draw it anew."
        )


def begin(output, manifest):
    """Make the folders, mark the data set as begun, and delete what a broken run left behind."""
    folders = [output / name for name in (*SPLITS, "annotations")]
    if not (output / BEGUN).exists():
        for folder in folders:
            if folder.is_dir() and any(folder.iterdir()):
                raise FileExistsError(
                    f"{folder} has files, and no {DONE} beside it says that they are scenes. "
                    "Choose another folder."
                )
    output.mkdir(parents=True, exist_ok=True)
    (output / BEGUN).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for folder in folders:
        folder.mkdir(exist_ok=True)
        # A broken run may have had more images than this one will have.
        for old in (*folder.glob("[0-9]*.png"), *folder.glob("instances_*.json")):
            old.unlink()


def draw_all(draw, jobs, processes):
    """Yield (split, result of ``draw(job)``) for each (split, index) of ``jobs``, in their order.

    Processes are spawned, not forked: a fork of a process with threads, such as one that has run
    torch, can hang.
    """
    if processes is None:
        processes = min(usable_cores(), 1 + len(jobs) // SCENES_PER_PROCESS)
    with tqdm(total=len(jobs), desc="scenes", unit="img", disable=None) as bar:
        if processes <= 1:
            for job in jobs:
                yield job[0], draw(job)
                bar.update()
            return
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for job, result in zip(jobs, pool.imap(draw, jobs, chunksize=16)):
                yield job[0], result
                bar.update()


def usable_cores():
    """Number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def save_scene(output, spec, job):
    """Draw and save the scene of ``job``, (split, index).

    Returns:
        list of dicts, one per instance: its entries of a COCO annotation but for the numbers.
    """
    split, index = job
    image, instances = draw_scene(spec, split, index)
    # Run-length coding only: on noisy images a third of the default's time for the same size.
    path = output / split / file_name(index)
    Image.fromarray(image).save(path, compress_level=1, compress_type=3)
    return [] if split == "unlabeled" else [annotation(instance) for instance in instances]


def file_name(index):
    """Name of the image file with this index in its split."""
    return f"{index:06d}.png"


def annotation(instance):
    """COCO annotation of an :class:`.scene.Instance`, without the numbers of image and itself."""
    code = pycocotools.mask.encode(np.asfortranarray(instance.mask, dtype=np.uint8))
    return {
        "category_id": instance.category + 1,
        "bbox": list(instance.bbox),
        "area": int(np.count_nonzero(instance.mask)),
        "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode("ascii")},
        "iscrowd": 0,
    }


def coco_annotations(spec, labels):
    """The COCO dictionary of one split.

    Args:
        spec: :class:`.spec.SceneSpec`.
        labels: per image, a list of :func:`annotation`.
    """
    width, height = spec.size
    images, annotations = [], []
    # Numbers start at 1: pycocotools takes 0 for "no match".
    for number, found in enumerate(labels, start=1):
        name = file_name(number - 1)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for entry in found:
            annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
    names = enumerate(spec.class_names, start=1)
    return {
        "info": {"description": "DenseSSL procedural scenes", "version": str(GENERATOR_VERSION)},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in names],
    }
