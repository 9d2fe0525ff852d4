"""One thing on a photograph, its class and its pixels: a true one of a dataset, or one
that was found. Masks travel as COCO's run-length encodings.
"""

import dataclasses
import math
import operator
from collections.abc import Mapping

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.shapes import Bool, typed

_MOST_DIGITS = 7  # of 5 bits, in the length of a run


@typed
def encode_rle(region: Bool[np.ndarray, "h w"]) -> dict:
    """COCO's compressed run-length encoding, `{"size": [h, w], "counts": str}`."""
    rle = coco_mask.encode(np.asfortranarray(region, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


@typed
def decode_rle(rle: dict) -> Bool[np.ndarray, "h w"]:
    """The region that `encode_rle` made it of. Raises ValueError if it did not."""
    check_rle(rle)
    return coco_mask.decode(rle).astype(bool)


def check_rle(rle: Mapping) -> None:
    """Raises ValueError unless `decode_rle` can have it: pycocotools trusts that the
    runs are as many pixels as the region has.
    """
    if not isinstance(rle["counts"], str):
        raise ValueError(f"the 'counts' of a region are {rle['counts']!r:.40}")
    counts, pixels = decode_counts(rle["counts"]), math.prod(rle["size"])
    if counts.min() < 0 or counts.max() > pixels or counts.sum() != pixels:
        raise ValueError(f"the runs of a region are not the {pixels} pixels of its size")


def decode_counts(text: str) -> np.ndarray:
    """Lengths of alternating runs of 0 and 1 from COCO's compressed text.

    A length is written in two's complement with digits of 5 bits, lowest first, each a
    character of code 48 + digit, + 32 if more follow. From the fourth on, it is the
    difference to the length two before (pycocotools, maskApi.c, rleFrString).

    Raises:
      ValueError: a character is none of these, the last length is cut off, or one is
        longer than any run.
    """
    digits = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (
        not digits.size
        or digits.min() < 0
        or digits.max() > 63
        or not ends.size
        or ends[-1] != digits.size - 1
    ):
        raise ValueError("its 'counts' are no run-length text, or cut off")
    if (ends - starts).max() > _MOST_DIGITS:
        raise ValueError("its 'counts' hold a run longer than any photograph")
    place = 5 * (np.arange(digits.size) - np.repeat(starts, ends - starts + 1))
    lengths = np.add.reduceat((digits & 31) << place, starts) - np.where(
        digits[ends] & 16, 32 << place[ends], 0
    )
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


@dataclasses.dataclass(frozen=True)
class Instance:
    """Attributes:
    label: zero-based foreground class.
    segmentation: its pixels, as `encode_rle` gives them.
    score: of one that was found, the higher the surer; None for a true one.
    crowd: a region of many things that were not told apart, as in COCO.
    peak: row and column of the pixel that one was found at; None for a true one.
    """

    label: int
    segmentation: dict
    score: float | None = None
    crowd: bool = False
    peak: tuple[int, int] | None = None

    def encode(self) -> dict:
        """What a record, or JSON, can hold."""
        peak = None if self.peak is None else list(self.peak)
        return {**dataclasses.asdict(self), "peak": peak}

    @classmethod
    def decode(cls, encoded: Mapping) -> "Instance":
        """The instance that `encode` made it of.

        Raises:
          KeyError, TypeError, ValueError: none did.
        """
        label, score, crowd, peak = (encoded[name] for name in ("label", "score", "crowd", "peak"))
        segmentation = {name: encoded["segmentation"][name] for name in ("size", "counts")}
        segmentation["size"] = [operator.index(side) for side in segmentation["size"]]
        check_rle(segmentation)
        if score is not None and not math.isfinite(score):
            raise ValueError(f"the score of an instance is {score}")
        if peak is not None:
            row, column = peak
            peak = operator.index(row), operator.index(column)
        return cls(operator.index(label), segmentation, score, bool(crowd), peak)
