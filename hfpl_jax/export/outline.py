"""The outline of a region as a polygon, by following its border (Moore's tracing)."""

import numpy as np

from hfpl_jax.shapes import Bool, Int, typed

_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Row and column of the neighbours, clockwise from the right one."""


@typed
def outline(region: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "n 2"]:
    """The pixels, (column, row), at which the outer border of a region turns, clockwise
    from the first in reading order.

    The region is connected, diagonally too. A polygon through these pixels, filled with
    its border, is the region with its holes filled; one of a single pixel or of a line
    is repeated to three points.
    """
    padded = np.pad(region, 1)
    width, inside = padded.shape[1], padded.tobytes()
    steps = [row * width + column for row, column in _STEPS]
    start = inside.index(1)
    first = _next(inside, start, 0, steps)
    corners = [start]
    if first is not None:
        place, heading = start + steps[first], first
        while True:
            # after the pixel outside that was met last: a step back to it is two eighths of
            # a turn for a straight step, three for a diagonal one
            turn = _next(inside, place, heading + (6 if heading % 2 else 7), steps)
            assert turn is not None  # back to where it came from at the least
            if place == start and turn == first:
                break
            if turn != heading:
                corners.append(place)
            place, heading = place + steps[turn], turn
    corners += [corners[-1]] * (3 - len(corners))
    rows, columns = np.divmod(np.asarray(corners), width)
    return np.stack([columns - 1, rows - 1], axis=-1)


def _next(inside: bytes, place: int, heading: int, steps: list[int]) -> int | None:
    """The first direction, clockwise from `heading`, in which there is a pixel."""
    for turn in range(heading, heading + 8):
        if inside[place + steps[turn % 8]]:
            return turn % 8
    return None
