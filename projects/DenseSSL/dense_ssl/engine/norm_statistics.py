"""detectron2's hook for batch norm statistics, on the same images each time."""

from detectron2.engine import hooks

from ..modeling.norm_statistics import estimate_statistics


class RestartedPreciseBN(hooks.PreciseBN):
    """detectron2's PreciseBN, on the same images each time and over all processes."""

    def update_stats(self):
        if not self._disabled:
            self._logger.info("Estimating batch norm statistics on %d batches", self._num_iter)
            estimate_statistics(self._model, self._data_loader, self._num_iter)
