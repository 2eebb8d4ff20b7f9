"""Time and memory of the list of images of a very large data set, in a run and in its workers.

Makes empty files in a temporary folder, or with --names only their names; lists them as
DATASETS.TRAIN does, the second time from the kept index; and lets forked workers look every image
up, in a random order.

    python benchmarks/scale.py                             # 1,300,000 files in 1,000 folders
    python benchmarks/scale.py --images 10000000 --names
"""

import argparse
import gc
import json
import multiprocessing
import os
import re
import tempfile
import time
from pathlib import Path

import numpy as np

from dense_ssl.data.image_names import NumberedImages, SourcedImages
from dense_ssl.data.sources.folder import list_image_folder
from dense_ssl.data.sources.folder_index import LEAST_IMAGES, SETTLED
from dense_ssl.data.views.view_dataset import ViewDataset

FOLDERS = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_300_000)
    parser.add_argument("--names", action="store_true", help="no files, their names alone")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    names = (f"n{i % FOLDERS:08d}/n{i % FOLDERS:08d}_{i}.JPEG" for i in range(arguments.images))
    with tempfile.TemporaryDirectory() as root:
        folder = f"{root}/images"
        if not arguments.names:
            write_files(Path(folder), names)
            os.environ["FVCORE_CACHE"] = f"{root}/cache"
            time.sleep(SETTLED if arguments.images >= LEAST_IMAGES else 0)
        gc.collect()
        before, begin, cpu = memory(), time.perf_counter(), time.process_time()
        if arguments.names:
            images = NumberedImages(f"/data/train/{x}" for x in names)
        else:
            images = list_image_folder(folder)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        dataset = ViewDataset(SourcedImages([("images", images)]), mapper=None, seed=0)
        held = round(memory() - before, 1)
        again = None
        if not arguments.names and arguments.images >= LEAST_IMAGES:
            again = time.perf_counter()
            assert list_image_folder(folder)[-1] == images[-1]
            again = round(time.perf_counter() - again, 2)
        row = {
            "images": len(dataset), "files": not arguments.names,
            "seconds": round(seconds, 2), "seconds of CPU": round(cpu, 2),
            "seconds from the index": again,
            "MB of the run": held,
            "MB of its own in each worker": worker_memory(dataset, arguments),
        }  # fmt: skip
    print(json.dumps(row))


def write_files(folder, names):
    for i in range(FOLDERS):
        (folder / f"n{i:08d}").mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def worker_memory(dataset, arguments):
    """Return the MB by which the memory of forked workers grows that look every image up."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=look_up, args=(dataset, i, queue))
               for i in range(arguments.workers)]  # fmt: skip
    for worker in workers:
        worker.start()
    found = [round(queue.get(), 1) for _ in workers]
    for worker in workers:
        worker.join()
    return found


def look_up(dataset, seed, queue):
    order = np.random.default_rng(seed).permutation(len(dataset))
    gc.collect()  # which writes to all objects of the interpreter, in every worker alike
    before = memory("Private_Dirty")
    for index in order:
        assert dataset.dicts[index]["source"] == "images"
    gc.collect()
    queue.put(memory("Private_Dirty") - before)


def memory(kind="Rss"):
    """Return the MB of this process."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(rf"^{kind}: *(\d+) kB", text, re.MULTILINE)[1]) / 1000


if __name__ == "__main__":
    main()
