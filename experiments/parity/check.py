"""One row of the parity table: a quantity of ours held against the published program's
number.
"""

from typing import NamedTuple

import numpy as np


class Check(NamedTuple):
    """piece: what was computed, "SEAM losses". quantity: which of its numbers,
    "loss_ecr".

    error: relative to the largest magnitude, see `relative_error`. tolerance: the
    largest error that counts as parity; None where the number is information alone, as
    the two sides compute something else.
    """

    piece: str
    quantity: str
    error: float
    tolerance: float | None

    @property
    def ok(self) -> bool:
        """Not-a-number is a failure."""
        return self.tolerance is None or self.error <= self.tolerance

    @property
    def line(self) -> str:
        verdict = "FAILED" if not self.ok else "ok" if self.tolerance is not None else "info"
        tolerance = "-" if self.tolerance is None else f"{self.tolerance:.0e}"
        return f"{self.piece:<26}{self.quantity:<32}{self.error:>16.2e}{tolerance:>12}  {verdict}"


def relative_error(ours, theirs) -> float:
    """max |ours - theirs| / max |theirs|: single elements may cancel to zero, so all
    share the scale of the largest.

    Where theirs is 0 throughout, ours must be 0 as well: the error is then 0 or
    infinite. The shapes must agree.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"Ours has the shape {ours.shape}, the published program's numbers have "
            f"{theirs.shape}: bring them to one layout."
        )
    difference, scale = (
        float(np.max(np.abs(array), initial=0.0)) for array in (ours - theirs, theirs)
    )
    if difference == 0.0:
        return 0.0
    return difference / scale if scale else float("inf")
