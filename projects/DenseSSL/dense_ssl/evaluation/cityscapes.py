"""Cityscapes' instance AP, with any numpy."""

from contextlib import contextmanager

import numpy as np
from detectron2.evaluation import CityscapesInstanceEvaluator


class CityscapesEvaluator(CityscapesInstanceEvaluator):
    """detectron2's evaluator, which runs Cityscapes' own program.

    Beyond it: works with numpy 2.4, and leaves no ``matches.json`` in the working directory.
    """

    def evaluate(self):
        """The AP over all classes.

        Returns:
            {"segm": {"AP", "AP50"}} in the main process, else None.
        """
        with _mended_program():
            return super().evaluate()


@contextmanager
def _mended_program():
    """Cityscapes' program, without its intermediate files and with the numpy function it lacks."""
    import cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling as program

    write, program.writeDict2JSON = program.writeDict2JSON, lambda values, path: None
    lacks = not hasattr(np, "in1d")
    if lacks:
        np.in1d = np.isin  # the same in one dimension, which it is asked for
    try:
        yield
    finally:
        program.writeDict2JSON = write
        if lacks:
            del np.in1d
