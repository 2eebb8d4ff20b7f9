"""GPU hours of protocols: image sizes, hand-computed hours, published times, all kinds of model."""

import json

import numpy as np
import pytest
from detectron2 import model_zoo
from detectron2.data import transforms as T
from helpers import CONFIGS, base_config

from dense_ssl.reports import protocol_cost
from dense_ssl.reports.flops import MultiplyAdds
from dense_ssl.reports.protocol_cost import (
    GPUS,
    Cost,
    measured_seconds,
    protocol_costs,
    training_size,
    typical_size,
)

MASK_RCNN = CONFIGS / "finetune" / "COCO-InstanceSegmentation" / "mask_rcnn_R_50_FPN_1x.yaml"
# one of each kind: the same model is used for several data sets
ALL = sorted(CONFIGS.glob("mini/finetune/*/*.yaml"))
MINI = {x.stem: x for x in ALL if "RoIClassification" not in str(x)}


def load(path, *options):
    cfg = base_config()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg


def test_hours_by_hand():
    # 3 x 10 - 2 x 4 multiply-adds, two FLOPs each, 5 images, 100 iterations
    cost = Cost(iterations=100, batch=5, size=(1, 1), multiply_adds=MultiplyAdds(10, 4))
    assert cost.flops == 22 * 2 * 5 * 100
    assert cost.estimated_hours(flops_per_second=2.0) == 22000 / 2 / 3600
    assert cost.measured_hours(seconds_per_iteration=0.36, num_gpus=8) == pytest.approx(0.08)


@pytest.mark.parametrize("sampling, sizes", [("choice", (480, 640, 800)), ("range", (480, 800))])
@pytest.mark.parametrize("width, height", [(640, 480), (500, 900)])
def test_the_area_is_the_mean_of_what_detectron2_draws(sampling, sizes, width, height):
    cfg = load(MASK_RCNN, "INPUT.MIN_SIZE_TRAIN", sizes, "INPUT.MIN_SIZE_TRAIN_SAMPLING", sampling,
               "INPUT.MAX_SIZE_TRAIN", 1000)  # fmt: skip
    np.random.seed(0)
    resize = T.ResizeShortestEdge(sizes, 1000, sampling)
    image = np.zeros((height, width, 3), np.uint8)
    drawn = [resize.get_transform(image) for _ in range(3000)]
    area = np.mean([x.new_h * x.new_w for x in drawn])
    h, w = training_size(cfg, (width, height))
    assert h * w == pytest.approx(area, rel=0.02) and w / h == pytest.approx(
        width / height, rel=0.01
    )


def test_crops_for_segmentation_have_their_own_size():
    options = ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute",
               "INPUT.CROP.SIZE", [512, 768]]  # fmt: skip
    segmentor = load(MASK_RCNN, "MODEL.META_ARCHITECTURE", "SemanticSegmentor", *options)
    assert training_size(segmentor, (2048, 1024)) == (512, 768)
    with pytest.raises(ValueError, match="INPUT.CROP.TYPE"):
        training_size(load(MASK_RCNN, *options), (2048, 1024))


def test_images_are_as_large_as_those_of_the_data_set():
    assert typical_size(("cityscapes_fine_instance_seg_train",)) == (2048, 1024)
    assert typical_size(("voc_2007_trainval", "voc_2012_trainval"))[0] == 500
    assert typical_size(("keypoints_coco_2017_train",)) == typical_size(("mine",)) == (640, 452)


def test_an_estimate_agrees_with_the_published_time():
    path = model_zoo.get_config_file("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml")
    (cost,) = protocol_costs([load(path)])
    # seconds per iteration on 8 V100s, from detectron2's MODEL_ZOO.md
    published = cost.measured_hours(0.315, num_gpus=8)
    assert cost.estimated_hours(0.5 * 1e12 * GPUS["V100-fp32"]) == pytest.approx(published, rel=0.3)


def test_every_kind_of_model_is_counted():
    assert len(MINI) > 5
    for name, cost in zip(MINI, protocol_costs([load(x) for x in MINI.values()])):
        assert 1e8 < cost.multiply_adds.total < 1e11, name
        if "Classification" in MINI[name].parent.name:  # length in epochs, of images not here
            assert 0.9 < cost.multiply_adds.frozen / cost.multiply_adds.total < 1, name
        else:
            assert cost.multiply_adds.frozen == 0 and cost.flops > 0, name


def test_the_classification_of_boxes_costs_the_forward_pass_of_squares():
    path = CONFIGS / "mini" / "finetune" / "COCO-RoIClassification" / "roi_linear_R_18_C5.yaml"
    (cost,) = protocol_costs([load(path, "SOLVER.EPOCHS", 0, "SOLVER.MAX_ITER", 10)])
    assert cost.size == (224, 224) and cost.iterations == 10
    adds = cost.multiply_adds
    assert 1.7e9 < adds.total < 1.95e9  # a ResNet-18
    assert adds.total - adds.frozen < 1e7  # the linear layer


def test_a_frozen_backbone_costs_only_its_forward_pass(monkeypatch):
    sizes = []
    count = protocol_cost.count_training
    monkeypatch.setattr(
        protocol_cost, "count_training", lambda cfg, size: sizes.append(size) or count(cfg, size)
    )
    path = MINI["retinanet_R_18_FPN"]
    longer = load(path, "SOLVER.MAX_ITER", 60, "SOLVER.IMS_PER_BATCH", 2)
    plain, longer, frozen = protocol_costs(
        [load(path), longer, load(path, "MODEL.FREEZE_BACKBONE", True)]
    )
    assert len(sizes) == 2  # the same model with another schedule is counted once
    assert longer.multiply_adds == plain.multiply_adds and longer.flops * 2 == plain.flops * 3
    assert frozen.multiply_adds.total == plain.multiply_adds.total
    assert 0 < frozen.multiply_adds.frozen < frozen.multiply_adds.total
    assert frozen.flops < plain.flops


def test_seconds_are_read_from_a_run(tmp_path):
    path = tmp_path / "metrics.json"
    times = [9.0, 0.25, 0.75, 0.5]  # the first includes the start-up
    path.write_text(
        "".join(json.dumps({"iteration": i, "time": x}) + "\n" for i, x in enumerate(times))
    )
    assert measured_seconds(str(path)) == 0.5
    assert measured_seconds("0.26") == 0.26
    path.write_text('{"iteration": 19, "time": 9.0}\n{"iteration": 20, "bbox/AP": 1}\n')
    with pytest.raises(ValueError, match="too short"):
        measured_seconds(str(path))
    with pytest.raises(FileNotFoundError):
        measured_seconds("nowhere.json")
