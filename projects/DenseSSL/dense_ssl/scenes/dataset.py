"""A folder of scenes on disk, labelled ones with COCO annotations.

Layout of the folder::

    unlabeled/000000.png ...             images only
    train/000000.png ..., val/...
    annotations/instances_train.json     boxes, masks (compressed RLE) and classes
    annotations/instances_val.json
    scenes.json                          the parameters; written last, when all else is complete

Masks are RLE because polygons are not exact; INPUT.MASK_FORMAT follows them.
"""

import functools
import json
import multiprocessing
import os
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
from PIL import Image
from tqdm import tqdm

from ..utils.cores import available_cores
from .scene import draw_scene
from .spec import SPLITS

# Raise it with every change that alters a pixel or an annotation.
GENERATOR_VERSION = 2
MAX_IMAGES = 1_000_000
# Starting a process costs as much as drawing a few hundred scenes.
SCENES_PER_PROCESS = 500
DONE, BEGUN = "scenes.json", "scenes.partial.json"


def write_scenes(output, spec, num_unlabeled, num_train, num_val, processes=None):
    """Write a data set of scenes, unless the folder already holds the same one.

    A run that was interrupted starts again from the beginning. Every image depends only on
    ``spec``, its split and its index, not on the number of images or processes.

    Args:
        output: folder; created if needed.
        spec: :class:`.spec.SceneSpec`.
        num_unlabeled, num_train, num_val: numbers of images, 0 included.
        processes: number of processes; by default up to one per core that this process may use.

    Returns:
        True if the scenes were drawn, False if they were already there.

    Raises:
        FileExistsError: the folder holds other scenes, or files that this function did not write.
    """
    output, counts = Path(output), dict(zip(SPLITS, (num_unlabeled, num_train, num_val)))
    for split, count in counts.items():
        if not 0 <= count <= MAX_IMAGES:
            raise ValueError(f"num_{split} must be between 0 and {MAX_IMAGES}, got {count}.")
    manifest = {
        "generator_version": GENERATOR_VERSION,
        "size": list(spec.size),
        "classes": list(spec.class_names),
        "max_objects": spec.max_objects,
        "seed": spec.seed,
        **{f"num_{split}": count for split, count in counts.items()},
    }
    if (output / DONE).exists():
        check_same(output, manifest)
        return False
    begin(output, manifest)
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    labels = {split: [] for split in SPLITS}
    results = run(functools.partial(save_scene, output, spec), jobs, processes)
    for (split, _), found in zip(
        jobs, tqdm(results, "scenes", len(jobs), unit="img", disable=None)
    ):
        labels[split].append(found)
    for split in ("train", "val"):
        text = json.dumps(coco_annotations(spec, labels[split]))
        (output / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")
    os.replace(output / BEGUN, output / DONE)
    return True


def check_same(output, manifest):
    """Raise FileExistsError if the finished data set in ``output`` has another manifest."""
    found = json.loads((output / DONE).read_text(encoding="utf-8"))
    keys = sorted(key for key in {*found, *manifest} if found.get(key) != manifest.get(key))
    if keys:
        raise FileExistsError(
            f"{output} holds scenes of other parameters ({', '.join(keys)} differ, see {DONE}). "
            "Choose another folder, or delete this one to draw it again."
        )


def begin(output, manifest):
    """Make the folders, mark the data set as begun, delete what an interrupted run left behind."""
    folders = [output / name for name in (*SPLITS, "annotations")]
    for folder in folders:
        if not (output / BEGUN).exists() and folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} has files, and there is no {DONE} beside it. Choose another folder."
            )
    output.mkdir(parents=True, exist_ok=True)
    (output / BEGUN).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for folder in folders:
        folder.mkdir(exist_ok=True)
        # The interrupted run may have had more images than this one will have.
        for old in (*folder.glob("[0-9]*.png"), *folder.glob("instances_*.json")):
            old.unlink()


def run(function, jobs, processes):
    """Yield ``function(job)`` for each job, in order, computed by several processes."""
    if processes is None:
        processes = min(available_cores(), 1 + len(jobs) // SCENES_PER_PROCESS)
    if processes <= 1:
        yield from map(function, jobs)
        return
    # A fork of a process with threads, such as one that has run torch, can hang. OpenCV needs no
    # threads in processes that keep all cores busy.
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        yield from pool.imap(function, jobs, chunksize=16)


def save_scene(output, spec, job):
    """Draw and save the scene of ``job``, (split, index); return its annotations if labelled.

    Returns:
        list of dicts: the entries of COCO annotations, without the ids of image and annotation.
    """
    split, index = job
    image, instances = draw_scene(spec, split, index)
    # Run-length coding only: on noisy images a third of the default's time for the same size.
    path = output / split / f"{index:06d}.png"
    Image.fromarray(image).save(path, compress_level=1, compress_type=3)
    return [annotation(instance) for instance in instances if split != "unlabeled"]


def annotation(instance):
    """Return the COCO annotation of an :class:`.scene.Instance`, without ids."""
    code = pycocotools.mask.encode(np.asfortranarray(instance.mask, dtype=np.uint8))
    return {
        "category_id": instance.category + 1,
        "bbox": list(instance.bbox),
        "area": int(np.count_nonzero(instance.mask)),
        "segmentation": {"size": list(code["size"]), "counts": code["counts"].decode("ascii")},
        "iscrowd": 0,
    }


def coco_annotations(spec, labels):
    """Return the COCO dictionary of a split; ``labels`` holds a list of annotations per image."""
    width, height = spec.size
    # Ids start at 1: pycocotools takes 0 for "no match".
    images = [
        {"id": index + 1, "file_name": f"{index:06d}.png", "width": width, "height": height}
        for index in range(len(labels))
    ]
    entries = [{"image_id": image, **x} for image, found in enumerate(labels, 1) for x in found]
    return {
        "info": {"description": "DenseSSL procedural scenes", "version": str(GENERATOR_VERSION)},
        "images": images,
        "annotations": [{"id": number, **entry} for number, entry in enumerate(entries, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(spec.class_names, 1)],
    }
