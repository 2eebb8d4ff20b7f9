"""Passes of the views through the online and the target encoder, computed once and shared."""

import torch
from detectron2.utils import comm

from ..utils.distributed import gather_rows, own_rows, shared_permutation
from .backbones import extract_features


class Passes:
    """Feature maps of the views of one step.

    Objectives ask for ``online(view)`` (with gradient) and ``target(view)`` (without); a pass that
    two objectives ask for is computed once. ``*_views`` name the passes of the step in advance, so
    that they can run as one batch.
    """

    def __init__(
        self, encoders, views, online_views, target_views, concatenate=False, shuffle=False
    ):
        """
        Args:
            encoders: (online backbone, target backbone).
            views: list of :class:`~dense_ssl.structures.Views`.
            online_views, target_views: indices of the views that the objectives will ask for.
            concatenate: run views of one size as one batch, so that norms see all of them.
            shuffle: deal the images of all processes out anew for the target encoder.
        """
        self._views = views
        self._encoders = encoders
        self._planned = (sorted(set(online_views)), sorted(set(target_views)))
        self._concatenate = concatenate
        self._shuffle = shuffle
        self._features = ({}, {})

    def online(self, view):
        """Feature maps {name: (N, C, H, W)} of a view, with gradient."""
        return self._get(0, view)

    def target(self, view):
        """Feature maps {name: (N, C, H, W)} of a view from the target encoder, without gradient."""
        with torch.no_grad():
            return self._get(1, view)

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
        """Features of images that run among those of other processes (MoCo's shuffled norms).

        A query and its key then meet different batches, so that norms which each process computes
        for itself cannot give away which belong together. In one process it changes nothing but
        the order of the rows, and is left out.
        """
        if comm.get_world_size() == 1:
            return extract_features(encoder, images)
        everything = gather_rows(images)
        order = shared_permutation(len(everything), images.device)
        features = extract_features(encoder, own_rows(everything[order]))
        back = order.argsort()
        return {name: own_rows(gather_rows(x)[back]) for name, x in features.items()}
