"""Instance AP of Cityscapes, with any version of numpy."""

from contextlib import contextmanager

import numpy as np
from detectron2.evaluation import CityscapesInstanceEvaluator


class CityscapesEvaluator(CityscapesInstanceEvaluator):
    """detectron2's evaluator, which runs Cityscapes' own program.

    Unlike it, this works with numpy 2.4 and leaves no ``matches.json`` in the working directory.
    """

    def evaluate(self):
        """Compute the AP over all classes.

        Returns:
            {"segm": {"AP", "AP50"}} in the main process, else None.
        """
        with _patched_program():
            return super().evaluate()


@contextmanager
def _patched_program():
    """Patch Cityscapes' program: no intermediate files, and a function that new numpy lacks."""
    import cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling as program

    write, program.writeDict2JSON = program.writeDict2JSON, lambda values, path: None
    is_missing = not hasattr(np, "in1d")
    if is_missing:
        np.in1d = np.isin  # equal in one dimension, which is all that the program uses
    try:
        yield
    finally:
        program.writeDict2JSON = write
        if is_missing:
            del np.in1d
