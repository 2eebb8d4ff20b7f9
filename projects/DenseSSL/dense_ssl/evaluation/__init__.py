"""Evaluators of detectors, by kind of data set."""

from .build import build_evaluator, check_evaluators

__all__ = ["build_evaluator", "check_evaluators"]
