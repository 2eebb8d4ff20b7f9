"""Evaluators of detectors, by kind of data set."""

from .build import build_evaluator, check_evaluators
from .metrics import check_best_metric

__all__ = ["build_evaluator", "check_best_metric", "check_evaluators"]
