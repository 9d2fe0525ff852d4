"""One thing on a photograph, its class and its pixels: a true one of a dataset, or one
that was found. Masks travel as COCO's run-length encodings.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.shapes import Bool, typed


@typed
def encode_rle(region: Bool[np.ndarray, "h w"]) -> dict:
    """COCO's compressed run-length encoding, `{"size": [h, w], "counts": str}`."""
    rle = coco_mask.encode(np.asfortranarray(region, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


@typed
def decode_rle(rle: dict) -> Bool[np.ndarray, "h w"]:
    """The region that `encode_rle` made it of."""
    return coco_mask.decode(rle).astype(bool)


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
        """The instance that `encode` made it of."""
        peak = encoded["peak"]
        return cls(**{**encoded, "peak": None if peak is None else tuple(peak)})
