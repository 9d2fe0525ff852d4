"""The instances of photographs, found by the peaks of a classifier of image labels: the
region of each peak, and where it stands.

Source: Zhou, Zhu, Ye, Qiu, Jiao, "Weakly Supervised Instance Segmentation using Class
Peak Response", CVPR 2018.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from hfpl_jax.data.example import OfExample
from hfpl_jax.inference.instance_scores import (
    at_size,
    best_proposals,
    beyond_class,
    proposal_scores,
    survivors,
)
from hfpl_jax.inference.peak_predictor import Classified, PeakPredictor, Seen
from hfpl_jax.inference.predictor import write_records
from hfpl_jax.inference.region_proposals import own_proposals
from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.runtime.records import Record

ANY = -1
"""In place of the class of a proposal that may be of any."""
_PENALTY = 1e-5 * 448 * 448
"""Of a region that is a whole photograph of the size that the published penalty of a
pixel is for.
"""


class Proposals(NamedTuple):
    """regions: bool [n, H, W] at the photograph's size. classes: int [n], the zero-based
    class of each, or `ANY`.
    """

    regions: np.ndarray
    classes: np.ndarray


class Proposed(Classified, Protocol):
    """A photograph with what may be instances on it."""

    def proposals(self) -> Proposals: ...


@dataclasses.dataclass(frozen=True)
class ProposedExample(OfExample):
    """An example of which it was found out what it shows.

    Attributes:
      classes: of a `Classified` one.
      mask: its regions are the proposals.
    """

    classes: np.ndarray
    mask: np.ndarray

    @functools.cached_property
    def _decoded(self) -> np.ndarray:
        """Once for the classifier and for the superpixels."""
        return self.example.pixels()

    def pixels(self) -> np.ndarray:
        return self._decoded

    def proposals(self) -> Proposals:
        return Proposals(*own_proposals(self.mask, self.pixels()))


def instances_of(seen: Seen, proposals: Proposals) -> list[Instance]:
    """The instances of a photograph, the best score first.

    Each peak takes the proposal of its class, or of any, with the best score, if that is
    above 0; peaks whose proposals overlap are one instance, that of the best of them.
    """
    regions, classes = proposals
    peaks, responses = seen.peaks, seen.responses
    if not len(peaks) or not len(regions):
        return []
    height, width = responses.shape[1:]
    beyond = {
        label: beyond_class(seen.logits[..., label], (height, width))
        for label in np.unique(peaks[:, 0])
    }
    scaled = at_size(regions, (height, width))
    scores = proposal_scores(
        responses,
        np.stack([beyond[label] for label in peaks[:, 0]]),
        scaled,
        beta=_PENALTY / (height * width),
    )
    scores[(classes != ANY) & (classes != peaks[:, :1])] = -np.inf
    scores[scores <= 0.0] = -np.inf
    order, chosen = best_proposals(scores)
    kept = np.unique(survivors(scaled[chosen]))
    cells, size = seen.logits.shape[:2], regions.shape[1:]
    return [
        Instance(
            label=int(peaks[peak, 0]),
            segmentation=encode_rle(regions[region]),
            score=float(scores[peak, region]),
            peak=_pixel(peaks[peak, 1:], cells, (height, width), size),
        )
        for peak, region in zip(order[kept], chosen[kept], strict=True)
    ]


def _pixel(
    cell: np.ndarray, cells: tuple[int, ...], scaled: tuple[int, int], size: tuple[int, ...]
) -> tuple[int, int]:
    """Row and column in the photograph of a cell of the logits, which lies where CAMs
    are enlarged to: corners aligned with those of the scaled image.
    """
    place = [
        (int(at) * (side - 1) / max(count - 1, 1) + 0.5) * target / side
        for at, count, side, target in zip(cell, cells, scaled, size, strict=True)
    ]
    row, column = (min(int(at), side - 1) for at, side in zip(place, size, strict=True))
    return row, column


def write_instances(
    predictor: PeakPredictor,
    photographs: Sequence[Proposed],
    directory: str | os.PathLike,
    *,
    name: str,
    **options,
) -> int:
    """Writes a record with the `instances` of every photograph, each as
    `Instance.encode` gives it; returns the number of photographs.

    Args:
      predictor: of the peaks.
      photographs: of the split `name`.
      **options: of `write_records`.
    """

    def merge(index: int, photograph: Proposed, seen: Seen) -> Record:
        found = instances_of(seen, photograph.proposals())
        return {
            "index": index,
            "file_name": photograph.file_name,
            "height": int(photograph.height),
            "width": int(photograph.width),
            "instances": [one.encode() for one in found],
        }

    title = f"instances of {name}"
    return write_records(predictor, photographs, directory, merge=merge, title=title, **options)
