"""The final evaluation of a run, as detectron2 writes it."""

import json
import math

import pytest

from dense_ssl.reports.run_results import final_evaluation
from dense_ssl.utils.metrics_file import read_records

NAN = math.nan
TRAINING = {"iteration": 19, "total_loss": 1.0, "roi_head/num_fg_samples": 4.0}


@pytest.fixture
def folder(tmp_path):
    def write(*records, predictions=None):
        text = "".join(x if isinstance(x, str) else json.dumps(x) + "\n" for x in records)
        (tmp_path / "metrics.json").write_text(text)
        for name, found in (predictions or {}).items():
            path = tmp_path / "inference" / name / "coco_instances_results.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found))
        return tmp_path

    return write


def test_only_the_evaluation_after_the_last_iteration_counts(folder):
    early = {"iteration": 9, "bbox/AP": 5.0}
    assert final_evaluation(folder(early, TRAINING), 20) is None
    final = {"iteration": 20, "bbox/AP": 7.0, "eta_seconds": 0.0}
    assert final_evaluation(folder(early, TRAINING, final), 20) == ({"bbox/AP": 7.0}, [])


def test_a_run_stopped_during_its_evaluation_is_evaluated_when_resumed(folder):
    # detectron2 then starts at MAX_ITER and logs the next iteration
    again = {"iteration": 21, "bbox/AP": 7.0}
    assert final_evaluation(folder(TRAINING, again), 20) == ({"bbox/AP": 7.0}, [])


def test_evaluation_after_a_failure_in_the_last_iteration_does_not_count(folder):
    assert final_evaluation(folder(TRAINING, {"iteration": 19, "bbox/AP": 7.0}), 20) is None


def test_no_file_is_no_result(tmp_path):
    assert final_evaluation(tmp_path, 20) is None


def test_a_detector_without_any_detection_scores_zero(folder):
    final = {"iteration": 20, "bbox/AP": NAN, "bbox/AP50": NAN, "bbox/AP75": NAN, "bbox/APl": NAN}
    metrics, zeros = final_evaluation(folder(final, predictions={"": []}), 20, ("bbox", "segm"))
    assert zeros == ["bbox/AP", "bbox/AP50", "bbox/AP75", "segm/AP", "segm/AP50", "segm/AP75"]
    assert all(metrics[x] == 0 for x in zeros)
    assert math.isnan(metrics["bbox/APl"])  # there may be no large objects


def test_nothing_to_find_stays_nan(folder):
    final = {"iteration": 20, "bbox/AP": NAN}
    metrics, zeros = final_evaluation(folder(final, predictions={"": [{"image_id": 1}]}), 20)
    assert math.isnan(metrics["bbox/AP"]) and not zeros


def test_each_test_set_has_predictions_of_its_own(folder):
    final = {"iteration": 20, "a/bbox/AP": NAN, "b/bbox/AP": NAN, "b/bbox/AP50": NAN}
    path = folder(final, predictions={"0_a": [{"image_id": 1}], "1_b": []})
    metrics, zeros = final_evaluation(path, 20, test_sets=("a", "b"))
    assert zeros == ["b/bbox/AP", "b/bbox/AP50", "b/bbox/AP75"]
    assert math.isnan(metrics["a/bbox/AP"]) and metrics["b/bbox/AP"] == 0


def test_semantic_segmentation_has_no_boxes(folder):
    final = {"iteration": 20, "sem_seg/mIoU": 55.0}
    assert final_evaluation(folder(final), 20) == ({"sem_seg/mIoU": 55.0}, [])


def test_an_incomplete_line_is_skipped(folder):
    # the resumed run appended to the half line of the killed one
    path = folder(
        TRAINING, '{"iteration": 39, "total_lo{"iteration": 20, "x": 1}\n', "7\n", TRAINING
    )
    assert list(read_records(path / "metrics.json")) == [TRAINING, TRAINING]


def test_the_real_evaluator_without_detections(tmp_path):
    import torch
    from dataset_files import make_cfg, make_coco
    from detectron2.engine import EvalHook, TrainerBase
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import JSONWriter

    from dense_ssl.data.sources.entries import resolve_dataset
    from dense_ssl.evaluation import build_evaluator

    name = resolve_dataset(make_coco(tmp_path))
    cfg = make_cfg(test=(name,))
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    nothing = Instances((30, 40), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0),
                        pred_classes=torch.zeros(0, dtype=torch.long))  # fmt: skip

    def evaluate():
        evaluator = build_evaluator(cfg, name)
        evaluator.reset()
        evaluator.process([{"image_id": 1}, {"image_id": 2}], [{"instances": nothing}] * 2)
        return evaluator.evaluate()

    trainer = TrainerBase()
    trainer.run_step = lambda: None
    trainer.register_hooks([EvalHook(0, evaluate)])
    (tmp_path / "run").mkdir()
    writer = JSONWriter(str(tmp_path / "run" / "metrics.json"))
    trainer.after_train = lambda: (TrainerBase.after_train(trainer), writer.write())
    trainer.train(0, 2)
    metrics, zeros = final_evaluation(tmp_path / "run", 2)
    assert zeros == ["bbox/AP", "bbox/AP50", "bbox/AP75"]
    assert metrics["bbox/AP"] == 0
