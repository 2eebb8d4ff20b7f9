"""The classes of a detector: names, and ids in files."""

import numpy as np

from ..data.finetune.label_space import number_of_classes


class ClassTable:
    """Names and ids of the classes that a model predicts.

    Attributes:
        names: of the classes, in the order of their numbers; "class 3" where they are not known.
        ids: category ids, those of the training data, else 1, 2, ...
        labels: the fields of detectron2's metadata, with names for all classes.
    """

    def __init__(self, cfg, labels):
        """
        Args:
            cfg: config of the detector or segmentor.
            labels: ``Detector.labels``.
        """
        count, kind = number_of_classes(cfg)
        names = labels.get(kind)
        if names is None or (count is not None and len(names) != count):
            names = [f"class {i + 1}" for i in range(count or 0)]
            labels = {}
        start = kind.partition("_")[0]
        ids = {v: k for k, v in labels.get(f"{start}_dataset_id_to_contiguous_id", {}).items()}
        self._values = np.array([ids.get(i, i) for i in range(len(names))])
        self.names = list(names)
        self.ids = [ids.get(i, i + 1) for i in range(len(names))]
        self.labels = {**labels, kind: self.names}

    def categories(self):
        """Return the list of categories of a COCO json."""
        keypoints = list(self.labels.get("keypoint_names", ()))
        joints = [
            [keypoints.index(a) + 1, keypoints.index(b) + 1]
            for a, b, _ in self.labels.get("keypoint_connection_rules", ())
        ]
        more = {"keypoints": keypoints, "skeleton": joints} if keypoints else {}
        return [{"id": i, "name": name, **more} for i, name in zip(self.ids, self.names)]

    def values_in_files(self, segments):
        """Return a map of class numbers with the values that label maps of the data have."""
        kind = np.uint8 if self._values.max(initial=0) < 256 else np.uint16
        return self._values.astype(kind)[segments]
