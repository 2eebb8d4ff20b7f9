"""Losses as pure functions of tensors: no config, no state, no collectives."""

from .cosine_distance import cosine_distance

__all__ = ["cosine_distance"]
