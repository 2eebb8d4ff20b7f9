#!/usr/bin/env python3
"""Print the image ids of a seeded share of a data set, one per line.

    python tools/label_subset.py coco_2017_train_1pct_seed0 > ids.txt
    python tools/label_subset.py coco:/path/annotations.json:/path/images_10pct_seed3

The rule is in dense_ssl/data/sources/subsets.py; it depends only on the image ids.
"""

import argparse
import sys

from detectron2.data import DatasetCatalog

from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.data.sources.subsets import parse_subset
from dense_ssl.utils.plain_errors import plain_errors


@plain_errors
def main():
    """Print the ids."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("entry", help="an entry of DATASETS.TRAIN that ends in _<P>pct_seed<S>")
    entry = parser.parse_args().entry
    if parse_subset(entry) is None:
        parser.error(f"{entry!r} does not end in a share and a seed, such as _1pct_seed0")
    for item in DatasetCatalog.get(resolve_dataset(entry)):
        print(item["image_id"])


if __name__ == "__main__":
    sys.exit(main())
