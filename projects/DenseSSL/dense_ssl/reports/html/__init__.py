"""The report of runs: one HTML file that opens from disk, without a server or a network.

``folders`` finds what belongs to it, the other collectors read it into the plain data of ``model``,
and ``render`` writes that as HTML. Nothing here needs the data sets, the weights or a GPU.
"""

from .report import REPORT, write_report

__all__ = ["REPORT", "write_report"]
