"""Passes of the views through the online and the target encoder, computed once and shared."""

import torch
from detectron2.utils import comm

from ..utils.distributed import exchange_rows, shared_permutation
from ..utils.events import iteration_or_none
from .backbones import extract_features


class Passes:
    """Feature maps of the views of one step.

    A pass that two objectives ask for is computed once. All passes are named in advance, so that
    those of one size can run as one batch.
    """

    def __init__(
        self, encoders, views, online_views, target_views, concatenate=False, shuffle=False
    ):
        """
        Args:
            encoders: (online backbone, target backbone).
            views: list of :class:`~dense_ssl.structures.Views`.
            online_views, target_views: indices of the views that the objectives will ask for.
            concatenate: run views of one size as one batch, in the encoders and in the heads, so
                that batch norm sees all of them.
            shuffle: shuffle the images over all processes for the target encoder.
        """
        self._views = views
        self._encoders = encoders
        self._planned = (sorted(set(online_views)), sorted(set(target_views)))
        self._concatenate = concatenate
        self._shuffle = shuffle
        self._features = ({}, {})

    def online(self, view):
        """Feature maps {name: (N, C, H, W)} of a view, with gradient."""
        # Target passes keep nothing for a backward pass: what they need for a moment is free again
        # before the online ones fill the memory.
        for planned in self._planned[1]:
            self.target(planned)
        return self._get(0, view)

    def target(self, view):
        """Feature maps {name: (N, C, H, W)} of a view from the target encoder, without gradient."""
        with torch.no_grad():
            return self._get(1, view)

    def through(self, head, inputs):
        """Run a head on the features of several views.

        With concatenated views, those of one size run as one batch, as in the encoder: batch norm
        in the head sees all of them.

        Args:
            head: module or function of a tensor (M, ...).
            inputs: {view: (M, ...)}; M may differ between views.

        Returns:
            {view: output}.
        """
        if not self._concatenate:
            return {view: head(x) for view, x in inputs.items()}
        outputs, sizes = {}, {view: self._views[view].size for view in inputs}
        for size in dict.fromkeys(sizes.values()):
            group = [view for view in inputs if sizes[view] == size]
            together = head(torch.cat([inputs[view] for view in group]))
            outputs.update(zip(group, together.split([len(inputs[view]) for view in group])))
        return outputs

    def _get(self, role, view):
        done = self._features[role]
        if view not in done:
            group = [view]
            if self._concatenate:
                size = self._views[view].size
                group = [i for i in self._planned[role] if self._views[i].size == size] or group
            images = [self._views[i].images for i in group]
            count = len(images[0])
            images = torch.cat(images) if len(group) > 1 else images[0]
            run = self._run_shuffled if role == 1 and self._shuffle else extract_features
            features = run(self._encoders[role], images)
            for position, index in enumerate(group):
                rows = slice(position * count, (position + 1) * count)
                done[index] = {name: x[rows] for name, x in features.items()}
        return done[view]

    @staticmethod
    def _run_shuffled(encoder, images):
        """Run images among those of other processes (MoCo's shuffled batch norm).

        A query and its key are then normalised with different images, so that batch statistics of
        single processes cannot give away which belong together. With one process it would only
        change the order of the rows, and is skipped.
        """
        if comm.get_world_size() == 1:
            return extract_features(encoder, images)
        count = comm.get_world_size() * len(images)
        order = shared_permutation(count, step=iteration_or_none() or 0)
        features = extract_features(encoder, exchange_rows(images, order))
        back = order.argsort()
        return {name: exchange_rows(x, back) for name, x in features.items()}


class ObjectivePasses:
    """The passes of a step as one objective sees them: those that it has announced."""

    def __init__(self, passes, objective):
        """
        Args:
            passes: :class:`Passes`. objective: :class:`~dense_ssl.modeling.objective.Objective`.
        """
        self._passes = passes
        self._objective = objective

    def online(self, view):
        """Feature maps {name: (N, C, H, W)} of a view, with gradient."""
        self._require(view, "online_views")
        return self._passes.online(view)

    def target(self, view):
        """Feature maps {name: (N, C, H, W)} of a view from the target encoder, without gradient."""
        self._require(view, "target_views")
        return self._passes.target(view)

    def through(self, head, inputs):
        """Run a head on the features of several views, see :meth:`Passes.through`."""
        return self._passes.through(head, inputs)

    def _require(self, view, attribute):
        announced = getattr(self._objective, attribute)
        if view not in announced:
            raise RuntimeError(
                f"{type(self._objective).__name__} asks for a pass of view {view}, but its "
                f"{attribute} is {tuple(announced)}: add the view there."
            )
