"""Exporting trained models to files that run without DenseSSL and detectron2."""

from .errors import ExportError
from .export import export_model
from .source import load_source

__all__ = ["ExportError", "export_model", "load_source"]
