"""Inputs for the classification of ground-truth boxes: images as squares, with their boxes."""

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, BoxMode, Instances

from ...utils.errors import prefix_errors
from ..sources.voc_difficult import marked_dicts, voc_root
from .images import data_key, load_image

_KEPT_BYTES = 2**30


def counted(dataset_dict):
    """Return the annotations that are neither crowds nor difficult."""
    return [x for x in dataset_dict["annotations"]
            if not x.get("iscrowd", 0) and not x.get("difficult", 0)]  # fmt: skip


def boxes_of(dataset_dict):
    """Return [(x1, y1, x2, y2)] of the annotations that count."""
    return [BoxMode.convert(list(x["bbox"]), x["bbox_mode"], BoxMode.XYXY_ABS)
            for x in counted(dataset_dict)]  # fmt: skip


def classifies_regions(cfg):
    """Return True if the META_ARCHITECTURE of the config classifies ground-truth boxes."""
    kind = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    return getattr(kind, "classifies_regions", False)


class RegionMapper:
    """Maps detectron2's dicts to squares with boxes and classes, in training and in the test.

    Squares have sides of INPUT.MIN_SIZE_TRAIN (or MIN_SIZE_TEST) pixels; SCRL (Roh et al. 2021,
    section 4.2.5) takes 800. Training images are flipped as INPUT.RANDOM_FLIP says.
    """

    def __init__(self, cfg, is_train):
        node = cfg.INPUT
        sides = tuple(node.MIN_SIZE_TRAIN) if is_train else (node.MIN_SIZE_TEST,)
        if len(sides) != 1 or sides[0] < 32:
            raise ValueError(
                f"INPUT.MIN_SIZE_TRAIN is {tuple(node.MIN_SIZE_TRAIN)} and MIN_SIZE_TEST "
                f"{node.MIN_SIZE_TEST}: images become squares of one side, such as (800,) and 800."
            )
        self.side = sides[0]
        flips = []
        if is_train and node.RANDOM_FLIP != "none":
            flips.append(
                T.RandomFlip(
                    horizontal=node.RANDOM_FLIP == "horizontal",
                    vertical=node.RANDOM_FLIP == "vertical",
                )
            )
        self.flips = T.AugmentationList(flips)
        self.is_train, self.image_format = is_train, node.FORMAT
        self._num_processes = max(cfg.DATALOADER.NUM_WORKERS, 1)
        self._kept = None  # {image: (square, transform)}
        names = cfg.DATASETS.TRAIN if is_train else cfg.DATASETS.TEST
        marked = (x for name in filter(voc_root, names) for x in marked_dicts(name))
        self._marked = {x["file_name"]: x["annotations"] for x in marked}

    def keep_squares(self, num_images):
        """Decode every image once instead of once an epoch, if the squares fit into the memory.

        They are the same in every epoch, up to a flip. Each worker keeps its own; together they
        keep at most 1 GiB: 21,000 squares of 128 pixels, 559 of 800.
        """
        needed = num_images * self.side**2 * 3 * self._num_processes
        self._kept = {} if needed <= _KEPT_BYTES else None

    def _square(self, item):
        """Return (square (side, side, C), the transform that made it)."""
        with prefix_errors(data_key(self.is_train)):
            image = load_image(item, self.image_format)
        resize = T.Resize((self.side, self.side)).get_transform(image)
        return resize.apply_image(image), resize

    def _kept_square(self, item):
        if self._kept is None:
            return self._square(item)
        image = (item["file_name"], item.get("height"), item.get("width"))
        if image not in self._kept:
            self._kept[image] = self._square(item)
        return self._kept[image]

    def __call__(self, item):
        item = {**item, "annotations": self._marked.get(item["file_name"], item["annotations"])}
        square, resize = self._kept_square(item)
        item.update(height=resize.h, width=resize.w)
        boxes = resize.apply_box(np.array(boxes_of(item), np.float64).reshape(-1, 4))
        aug_input = T.AugInput(square, boxes=boxes)
        self.flips(aug_input)
        instances = Instances(aug_input.image.shape[:2])
        instances.gt_boxes = Boxes(torch.as_tensor(aug_input.boxes, dtype=torch.float32))
        classes = [x["category_id"] for x in counted(item)]
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        pixels = aug_input.image.transpose(2, 0, 1).copy()  # what is kept stays ours
        kept = {k: x for k, x in item.items() if k != "annotations"}
        return {**kept, "image": torch.from_numpy(pixels), "instances": instances}
