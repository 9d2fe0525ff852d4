"""The report of a run, for a person to look at: report.html and grid.png."""

from hfpl_jax.report.html import write_report
from hfpl_jax.report.tiles import Tile

__all__ = ["Tile", "write_report"]
