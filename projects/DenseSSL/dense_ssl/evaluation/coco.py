"""Average precision of COCO, where some objects have no mask."""

from detectron2.evaluation import COCOEvaluator as _COCOEvaluator


class COCOEvaluator(_COCOEvaluator):
    """detectron2's, which fails on objects without a mask: those become crowds.

    So a model with masks is neither rewarded nor punished for finding them, as it has not learned
    them either. The scores of boxes ignore them too.
    """

    def __init__(self, dataset_name, output_dir, kpt_oks_sigmas, masks):
        """
        Args:
            dataset_name, output_dir, kpt_oks_sigmas: detectron2's.
            masks: the model has masks.
        """
        super().__init__(dataset_name, output_dir=output_dir, kpt_oks_sigmas=kpt_oks_sigmas)
        for annotation in self._coco_api.dataset.get("annotations", ()) if masks else ():
            if not annotation.get("segmentation"):
                left, top, width, height = annotation["bbox"]
                right, bottom = left + width, top + height
                corners = [left, top, right, top, right, bottom, left, bottom]
                annotation.update(iscrowd=1, segmentation=[corners])
