"""The names of metrics that TEST.BEST_METRIC takes, known before the first evaluation."""

import pytest
from dataset_files import make_cfg, make_coco
from detectron2.data import MetadataCatalog

from dense_ssl.data.sources.entries import resolve_dataset
from dense_ssl.evaluation.metrics import check_best_metric, known_metrics

pytestmark = pytest.mark.usefixtures("restore_catalogs")


def config(kind, metric="", **model):
    MetadataCatalog.get(f"my {kind}").set(evaluator_type=kind)
    cfg = make_cfg(test=(f"my {kind}",))
    cfg.TEST.BEST_METRIC, cfg.TEST.EVAL_PERIOD = metric, 5
    cfg.MODEL.update(model)
    return cfg


def tasks(names):
    return {x.rpartition("/")[0] for x in names}


def test_tasks_are_those_of_the_model_and_the_data():
    assert tasks(known_metrics(config("coco"))) == {"bbox"}
    both = config("coco", MASK_ON=True, KEYPOINT_ON=True)
    assert tasks(known_metrics(both)) == {"bbox", "segm", "keypoints"}
    assert "keypoints/APm" in known_metrics(both) and "keypoints/APs" not in known_metrics(both)
    assert known_metrics(config("cityscapes_instance")) == ["segm/AP", "segm/AP50"]
    assert "sem_seg/mIoU" in known_metrics(config("sem_seg"))


def test_several_data_sets_come_before_the_name(tmp_path):
    names = tuple(resolve_dataset(make_coco(tmp_path / x)) for x in "ab")
    found = known_metrics(make_cfg(test=names))
    assert {x.rpartition("/bbox/")[0] for x in found} == set(names)


@pytest.mark.parametrize("kind, metric", [
    ("coco", "bbox/AP-cat"), ("sem_seg", "sem_seg/IoU-road"), ("sem_seg", "sem_seg/ACC-road"),
])  # fmt: skip
def test_a_class_may_be_watched(kind, metric):
    check_best_metric(config(kind, metric))


@pytest.mark.parametrize("metric", ["bbox/APx-cat", "segm/AP-cat", "bbox/mIoU", "AP"])
def test_anything_else_is_refused(metric):
    with pytest.raises(ValueError, match="TEST.BEST_METRIC is .* It gives bbox/AP, bbox/AP50"):
        check_best_metric(config("coco", metric))


def test_a_class_of_boxes_that_are_named():
    cfg = config("coco", "roi/acc-cat", META_ARCHITECTURE="RoIClassifier")
    check_best_metric(cfg)
