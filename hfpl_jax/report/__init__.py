"""The report of a run, for a person to look at: report.html and its pictures."""

from hfpl_jax.report.html import write_report
from hfpl_jax.report.tiles import Picture, Tile

__all__ = ["Picture", "Tile", "write_report"]
