"""Few labels: shares of a data set that are the same for everyone."""

import runpy
import sys

import pytest
from dataset_files import make_coco, make_image, make_voc
from detectron2.data import DatasetCatalog, MetadataCatalog
from helpers import ROOT

from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.data.sources.subsets import parse_subset, subset_ids

pytestmark = pytest.mark.usefixtures("restore_catalogs")


def coco_of(folder, count=40):
    images = [{"id": i, "file_name": "1.jpg", "width": 40, "height": 30} for i in range(count)]
    return make_coco(folder, images=images)


def test_names():
    assert parse_subset("coco_2017_train_1pct_seed0") == ("coco_2017_train", 1, 0)
    assert parse_subset("coco:/a.json:/b_2.5pct_seed12") == ("coco:/a.json:/b", 2.5, 12)
    assert parse_subset("coco_2017_train") is None
    assert parse_subset("coco_2017_train_1pct") is None


def test_the_list_is_the_documented_one():
    # of printf '0:0' | sha256sum to '0:9', these three give the smallest hashes
    assert subset_ids(range(10), 30, 0) == {7, 4, 9}
    assert subset_ids([str(i) for i in range(10)], 30, 0) == {"7", "4", "9"}


def test_shares_are_nested_sized_and_seeded():
    ids = list(range(1000))
    sizes = {1: 10, 5: 50, 10: 100, 33.35: 334, 100: 1000}
    previous = set()
    for percent, size in sizes.items():
        share = subset_ids(ids, percent, 0)
        assert len(share) == size and previous <= share
        assert share == subset_ids(ids[::-1], percent, 0)
        previous = share
    overlap = len(subset_ids(ids, 10, 0) & subset_ids(ids, 10, 1))
    assert overlap < 30  # 10 by chance
    assert len(subset_ids(ids[:3], 1, 0)) == 1


def test_registered_by_name(tmp_path):
    base = coco_of(tmp_path)
    entry = resolve_dataset(f"{base}_10pct_seed0")
    ids = {x["image_id"] for x in DatasetCatalog.get(entry)}
    assert ids == subset_ids(range(40), 10, 0) and len(ids) == 4
    meta = MetadataCatalog.get(entry)
    assert meta.thing_classes == ["cat", "dog"]
    assert meta.thing_dataset_id_to_contiguous_id == {7: 0, 9: 1}
    assert resolve_dataset(entry) == entry


def test_coco_by_its_name():
    entry = resolve_dataset("coco_2017_train_1pct_seed0")
    classes = MetadataCatalog.get("coco_2017_train").thing_classes
    assert MetadataCatalog.get(entry).thing_classes == classes


def test_voc_takes_shares_too(tmp_path):
    root = make_voc(tmp_path, {str(i): [("cat", "", 1, 1, 9, 9)] for i in range(10)})
    entry = resolve_dataset(f"voc:{root}:train_20pct_seed1")
    assert {x["image_id"] for x in DatasetCatalog.get(entry)} == subset_ids(
        [str(i) for i in range(10)], 20, 1
    )


def test_a_folder_that_looks_like_a_share_is_a_folder(tmp_path):
    folder = tmp_path / "mine_1pct_seed0"
    make_image(folder / "1.png")
    assert len(DatasetCatalog.get(resolve_dataset(f"folder:{folder}"))) == 1


def test_bad_shares_are_refused(tmp_path):
    base = coco_of(tmp_path)
    with pytest.raises(ValueError, match=r"_0pct_seed0': 0 % of"):
        resolve_dataset(f"{base}_0pct_seed0")
    with pytest.raises(ValueError, match=r"_101pct_seed0': 101 % of"):
        resolve_dataset(f"{base}_101pct_seed0")
    with pytest.raises(ValueError, match="DATASETS.TEST: .* is for training"):
        resolve_dataset(f"{base}_10pct_seed0", "DATASETS.TEST")
    with pytest.raises(ValueError, match="'coco_2017_trian': not a data set"):
        resolve_dataset("coco_2017_trian_1pct_seed0")


def test_the_tool_prints_the_ids(tmp_path, monkeypatch, capsys):
    def run(entry):
        monkeypatch.setattr(sys, "argv", ["label_subset.py", entry])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "tools" / "label_subset.py"), run_name="__main__")
        return end.value.code or 0, capsys.readouterr()

    status, printed = run(f"{coco_of(tmp_path)}_10pct_seed3")
    ids = printed.out.split()
    assert status == 0
    assert {int(x) for x in ids} == subset_ids(range(40), 10, 3) and len(ids) == 4
    status, printed = run("coco_2017_train")
    assert status == 2 and "_1pct_seed0" in printed.err
