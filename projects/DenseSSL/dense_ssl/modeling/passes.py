"""Passes of the views through the online and the target encoder, computed once and shared."""

import torch

from .backbones import extract_features


class Passes:
    """Feature maps of the views of one step.

    Objectives ask for ``online(view)`` (with gradient) and ``target(view)`` (without); a pass that
    two objectives ask for is computed once. ``*_views`` name the passes of the step in advance, so
    that they can run as one batch.
    """

    def __init__(self, encoders, views, online_views, target_views, concatenate=False):
        """
        Args:
            encoders: (online backbone, target backbone).
            views: list of :class:`~dense_ssl.structures.Views`.
            online_views, target_views: indices of the views that the objectives will ask for.
            concatenate: run views of one size as one batch, so that norms see all of them.
        """
        self._views = views
        self._encoders = encoders
        self._planned = (sorted(set(online_views)), sorted(set(target_views)))
        self._concatenate = concatenate
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
            features = extract_features(
                self._encoders[role], torch.cat(images) if len(group) > 1 else images[0]
            )
            for position, index in enumerate(group):
                rows = slice(position * len(images[0]), (position + 1) * len(images[0]))
                done[index] = {name: x[rows] for name, x in features.items()}
        return done[view]
