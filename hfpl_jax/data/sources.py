"""Batches of more than one source, such as labelled and unlabelled photographs: each has
its elements, its augmentation and its batch size.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from hfpl_jax.data.batches import BatchStream, batch_stream


@dataclasses.dataclass(frozen=True)
class Source:
    """A part of every batch.

    Attributes:
      elements: random access to what it is drawn from.
      transform: one of them -> a randomly augmented element of a batch.
      batch_size: over all devices.
      field: the configuration's field that sets the batch size, for messages.
      rows: of a batch that an element becomes.
    """

    elements: Sequence
    transform: grain.transforms.RandomMap
    batch_size: int
    field: str
    rows: int = 1


def batch_shapes(source: Source, beside: Mapping[str, Source]) -> dict[str, Any]:
    """The global batches of `joint_stream` as shapes alone, from one element of each
    source.
    """

    def of_one(each: Source) -> dict[str, Any]:
        element = each.transform.random_map(each.elements[0], np.random.default_rng(0))

        def stacked(array: Any) -> jax.ShapeDtypeStruct:
            inner = np.shape(array) if each.rows == 1 else np.shape(array)[1:]
            return jax.ShapeDtypeStruct((each.batch_size, *inner), np.asarray(array).dtype)

        return jax.tree.map(stacked, element)

    shapes = of_one(source)
    others = {name: of_one(each) for name, each in beside.items()}
    return {**shapes, "beside": others} if others else shapes


class _Joint(BatchStream):
    def __init__(self, stream: BatchStream, beside: Mapping[str, BatchStream]):
        self._stream, self._beside = stream, beside

    def __next__(self) -> dict[str, Any]:
        others = {name: next(each) for name, each in self._beside.items()}
        return {**next(self._stream), "beside": others}

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # all of them, whatever one of them raises
            for each in (self._stream, *self._beside.values()):
                stack.callback(each.close)


def joint_stream(
    source: Source, beside: Mapping[str, Source], *, seed: int, **options: int
) -> BatchStream:
    """Batches of `source`; under "beside" they hold those of the other sources by name.

    Each is a function of the seed, its name and the step alone: the batches of one do
    not depend on what stands beside it.

    Args:
      seed, options: of `batch_stream`.
    """

    def stream(each: Source, seed: int) -> BatchStream:
        return batch_stream(
            each.elements,
            each.transform,
            batch_size=each.batch_size,
            rows=each.rows,
            seed=seed,
            **options,
        )

    def seed_of(name: str) -> int:
        return int(np.random.SeedSequence(seed, spawn_key=(*name.encode(),)).generate_state(1)[0])

    streams = {name: stream(each, seed_of(name)) for name, each in beside.items()}
    first = stream(source, seed)
    return _Joint(first, streams) if streams else first
