"""Which photographs of an export have labels to rely on."""

import numpy as np

from hfpl_jax.data.dataset import Split
from hfpl_jax.data.example import Example, decode_mask
from hfpl_jax.data.part import Part
from hfpl_jax.errors import InputError


def by_confidence(split: Split, *, confidence: float, share: float) -> tuple[Part, Part]:
    """The photographs of which at least a `share` of the pixels have a confidence above
    `confidence`, and all others. Reads every confidence map once.

    Raises:
      InputError: a photograph has no confidence map.
    """
    sure = [_share_above(example, confidence) >= share for example in split]
    both = (np.flatnonzero(np.equal(sure, which)).tolist() for which in (True, False))
    labelled, unlabelled = (Part(split, indices) for indices in both)
    return labelled, unlabelled


def _share_above(example: Example, confidence: float) -> float:
    if example.confidence is None:
        raise InputError(
            f"The export has no confidence map of {example.file_name}, by which labelled "
            "photographs are told from others. Set config.export.confidence to True."
        )
    return float(np.mean(decode_mask(example.confidence, example.file_name) > 255.0 * confidence))
