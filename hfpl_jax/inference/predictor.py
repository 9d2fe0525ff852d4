"""A trained network and how it looks at photographs: any number of them, in batches of
a few padded shapes, becomes maps, a photograph at a time.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import Any, Protocol, TypeVar

import grain
import jax
import numpy as np

from hfpl_jax.inference.multi_scale import (
    Batch,
    LoadBatch,
    MultiScale,
    Photograph,
    batches_by_shape,
    unpadded,
)
from hfpl_jax.runtime.cores import available_cores
from hfpl_jax.runtime.observation import waited_for
from hfpl_jax.runtime.progress import Meter
from hfpl_jax.runtime.records import resume
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, put_batch, replicated

T = TypeVar("T")

Merge = Callable[[int, Photograph, list[np.ndarray], list[tuple[int, int]]], T]
"""`merge(index, photograph, maps, scaled_sizes)`: what becomes of a photograph's logits
[h, w, n], one a scale and summed over mirror images, and the (height, width) of the
image each was made from. A pure function, called on a few threads at once.
"""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A network with its parameters.

    Attributes:
      logits: of `make_logits_function`.
      variables: parameters and statistics, on every device of `mesh`.
      settings: the sizes at which a photograph is looked at.
      output_stride: an image of height h has ceil(h / output_stride) rows of logits.
      mesh: the devices of this process, among which a batch is divided.
      load: `load(photographs, settings, shapes)` makes batches, as `LoadBatch` does.
    """

    logits: Callable[[dict, Any, jax.Array], jax.Array]
    variables: dict
    settings: MultiScale
    output_stride: int
    mesh: Mesh
    load: Callable[..., grain.transforms.Map] = LoadBatch

    @functools.cached_property
    def compiled(self) -> Callable[[dict, Any, jax.Array], jax.Array]:
        """`logits`, compiled once for each shape, over the devices of `mesh`."""
        everywhere, split = replicated(self.mesh), batch_sharding(self.mesh)
        return jax.jit(self.logits, in_shardings=(everywhere, split, split), out_shardings=split)

    def batches(
        self,
        photographs: Sequence[Photograph],
        tasks: Sequence[Batch],
        shapes: Sequence[tuple[int, int]],
        merge: Merge[T],
    ) -> Iterator[list[tuple[int, T]]]:
        """(index, what `merge` makes) of every photograph of a batch, batch by batch.

        Args:
          photographs: random access; only those in `tasks` are read.
          tasks: of `batches_by_shape`.
          shapes: of `plan_shapes`: their number times that of the scales is the number
            of compilations.
          merge: see `Merge`.
        """
        seen = functools.partial(
            look, self.compiled, self.variables, mesh=self.mesh, views=self.settings.views
        )
        computed = (
            (examples, images, [seen(batch, photographs=len(examples)) for batch in images])
            for examples, images in loaded(
                photographs, tasks, shapes, self.settings, load=self.load
            )
        )
        with futures.ThreadPoolExecutor(available_cores()) as pool:
            for examples, images, outputs in one_behind(computed):
                host = [np.concatenate(jax.device_get(output)) for output in outputs]
                count = len(examples) if one_by_one(self.mesh) else self.settings.batch_size

                def made(place, images=images, host=host, count=count) -> tuple[int, T]:
                    row, (index, photograph) = place
                    maps = unpadded(images, host, row, count, self.settings, self.output_stride)
                    return index, merge(index, photograph, *maps)

                yield list(pool.map(made, enumerate(examples.items())))


def one_by_one(mesh: Mesh) -> bool:
    """Whether the photographs of a batch are looked at one after another: by a single
    CPU, which one keeps busy, and where all at once take so many times the memory.
    """
    return mesh.size == 1 and mesh.devices.item().platform == "cpu"


def look(
    program: Callable[..., Any],
    variables: dict,
    batch: dict[str, Any],
    mesh: Mesh,
    *,
    photographs: int,
    views: int = 1,
) -> list[Any]:
    """What a program makes of a batch, in parts: a photograph each where `one_by_one`,
    and then nothing of the rows that fill the batch up; else all rows at once.

    Args:
      batch: its first rows are those of `photographs`, `views` of each.
    """
    step = views if one_by_one(mesh) else len(batch["sizes"])
    rows = views * photographs if one_by_one(mesh) else step
    parts = [
        jax.tree.map(lambda array, at=at: array[at : at + step], batch)
        for at in range(0, rows, step)
    ]
    return [program(variables, *put_batch(mesh, part).values()) for part in parts]


def one_behind(items: Iterable[T]) -> Iterator[T]:
    """Each item once the next one is made: the device works on that while the host takes
    this one apart.
    """
    waiting: list[T] = []
    for item in items:
        yield from waiting
        waiting = [item]
    yield from waiting


def loaded(
    photographs: Sequence[Photograph],
    tasks: Sequence[Batch],
    shapes: Sequence[tuple[int, int]],
    settings: MultiScale,
    *,
    load: Callable[..., grain.transforms.Map] = LoadBatch,
) -> Iterator[tuple[dict[int, Photograph], list[dict[str, Any]]]]:
    """Of every batch the photographs by index, and their padded images of each scale; on
    two threads, ahead of the device. Arguments as those of `Predictor.batches`.
    """
    source = grain.MapDataset.source(list(tasks))
    batches = source.map(load(photographs, settings, tuple(shapes)))
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    return waited_for(batches.to_iter_dataset(options))


class Batches(Protocol):
    """What makes something of every photograph, batch by batch; a `Predictor` does."""

    @property
    def settings(self) -> MultiScale: ...

    def batches(
        self,
        photographs: Sequence[Photograph],
        tasks: Sequence[Batch],
        shapes: Sequence[tuple[int, int]],
        merge: Callable[..., T],
    ) -> Iterator[list[tuple[int, T]]]: ...


def write_records(
    predictor: Batches,
    photographs: Sequence[Photograph],
    directory: str | os.PathLike,
    *,
    merge: Callable[..., Any],
    sizes: dict[str, tuple[int, int]],
    shapes: Sequence[tuple[int, int]],
    shard_size: int,
    title: str,
    parts: int = 1,
) -> int:
    """Writes a record for every photograph in this process's share; those in whole
    shards already are left out.

    Args:
      predictor: the network.
      photographs: a split, or any others of different names.
      directory: of the records.
      merge: makes a photograph's record, or the list of its `parts`, of what the
        predictor hands it.
      sizes: of `photograph_sizes`.
      shapes: of `plan_shapes`, for these photographs alone or for several splits that
        share the compiled programs.
      shard_size: photographs a shard, and so the most that a killed run computes again.
      title: of the progress bar.
      parts: records of a photograph, the first of which has its name.

    Returns:
      The number of photographs.
    """
    done, writer = resume(
        directory, shard_size=shard_size, process_index=jax.process_index(), parts=parts
    )
    tasks = batches_by_shape(sizes, shapes, done, predictor.settings.batch_size)
    with writer, Meter(title, sum(len(indices) for _, indices in tasks)) as meter:
        for batch in predictor.batches(photographs, tasks, shapes, merge):
            for _, made in batch:
                writer.write(*([made] if parts == 1 else made))
            meter.advance(len(batch))
    return len(photographs)
