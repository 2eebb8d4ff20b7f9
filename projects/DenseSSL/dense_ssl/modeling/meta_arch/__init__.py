"""The methods by name: each a META_ARCHITECTURE, a fixed composition of objectives."""

from .byol import BYOL
from .scrl import SCRL

__all__ = ["BYOL", "SCRL"]
