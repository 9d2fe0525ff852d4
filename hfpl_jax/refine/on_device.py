"""A device refiner over whole splits, in batches of padded photographs."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Protocol

import flax.linen as nn
import grain
import jax
import numpy as np

from hfpl_jax.data.dataset import Example
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.multi_scale import batches_by_shape
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.refine.on_host import photograph_of
from hfpl_jax.refine.refiner import DeviceRefiner, Padded, Refined
from hfpl_jax.runtime.observation import waited_for
from hfpl_jax.runtime.progress import Meter
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, put_batch, replicated


class Pairs(Protocol):
    """CAM records, each with its photograph; and the records alone."""

    records: RecordReader

    def __getitem__(self, index: int) -> tuple[dict, Example]: ...


@dataclasses.dataclass(frozen=True)
class _LoadBatch(grain.transforms.Map):
    """Places of one shape's photographs -> their CAMs and their padded batch."""

    pairs: Pairs
    refiner: DeviceRefiner
    threshold: float
    shapes: Sequence[tuple[int, int]]
    most_classes: int
    cell: int
    rows: int

    def map(
        self, task: tuple[int, tuple[int, ...]]
    ) -> tuple[list[CamRecord], dict[str, np.ndarray]]:
        cell, rows = self.cell, self.rows
        height, width = (-(-side // cell) * cell for side in self.shapes[task[0]])
        cells = rows, height // cell, width // cell
        images = np.zeros((rows, height, width, 3), np.uint8)
        scores = np.zeros((*cells, 1 + self.most_classes), np.float32)
        sizes = np.full((rows, 2), (height, width), np.int32)
        classes = np.full((rows, self.most_classes), -1, np.int32)
        regions, records = np.zeros((rows, 0, 0), np.int32), []
        for row, index in enumerate(task[1]):
            record, example = self.pairs[index]
            records.append(CamRecord.decode(record))
            photograph = photograph_of(records[-1], example, self.threshold)
            start = self.refiner.start(photograph, cell)
            sizes[row] = photograph.image.shape[:2]
            images[row, : sizes[row, 0], : sizes[row, 1]] = photograph.image
            scores[row, : start.shape[0], : start.shape[1], : start.shape[2]] = start
            classes[row, : len(photograph.classes)] = photograph.classes
            if (own := self.refiner.regions(photograph)).size:
                regions = regions if regions.size else np.full(images.shape[:3], -1, np.int32)
                regions[row, : sizes[row, 0], : sizes[row, 1]] = own
        arrays = (images, sizes, scores, classes, regions)
        return records, dict(zip(Padded._fields, arrays, strict=True))


def record_sizes(records: RecordReader) -> tuple[dict[str, tuple[int, int]], int]:
    """File name -> (height, width) of the CAMs, in the order of the records, and the
    largest number of classes in one.
    """
    sizes, most_classes = {}, 0
    for index in range(len(records)):
        record = records[index]
        sizes[record["file_name"]] = record["height"], record["width"]
        most_classes = max(most_classes, len(record["classes"]))
    return sizes, most_classes


def on_device(
    refiner: DeviceRefiner,
    splits: Mapping[str, Pairs],
    *,
    threshold: float,
    batch_size: int,
    padded_shapes: int,
    mesh: Mesh,
    network: nn.Module | None = None,
    variables: Mapping | None = None,
) -> Callable[[str, Set[str]], Iterator[tuple[CamRecord, Refined]]]:
    """`refined(split, done)`: what the refiner makes of every photograph in this
    process's share of a split whose file name is not `done`.

    Args:
      refiner: compiled once for each shape, which all splits share.
      splits: by name.
      threshold: the background score of the CAMs.
      batch_size: photographs, on all devices of the `mesh` together.
      padded_shapes: the most shapes that there may be.
      network: of a `LearningRefiner`, with its trained `variables`, or of a
        `PretrainedRefiner`, with those of the pretrained backbone.
    """
    cell = network.backbone.output_stride if network else 1
    scanned = {split: record_sizes(pairs.records) for split, pairs in splits.items()}
    sizes = [size for of_split, _ in scanned.values() for size in of_split.values()]
    shapes = plan_shapes(np.asarray(sizes, np.int64), padded_shapes)
    most_classes = max(most for _, most in scanned.values())

    def refine(variables, batch: Padded) -> Refined:
        apply = functools.partial(network.apply, variables) if network else None
        return refiner.refine(batch, apply)

    everywhere, split_up = replicated(mesh), batch_sharding(mesh)
    program = jax.jit(refine, in_shardings=(everywhere, split_up), out_shardings=split_up)

    def refined(split: str, done: Set[str]) -> Iterator[tuple[CamRecord, Refined]]:
        load = _LoadBatch(splits[split], refiner, threshold, shapes, most_classes, cell, batch_size)
        tasks = batches_by_shape(scanned[split][0], shapes, done, batch_size)
        stream = (
            grain.MapDataset.source(tasks)
            .map(load)
            .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))
        )
        with Meter(f"pseudo-labels of {split}", sum(len(each) for _, each in tasks)) as meter:
            for records, arrays in waited_for(stream):
                batch = Padded(**put_batch(mesh, arrays))
                # The last batch is filled up with rows that are no photograph.
                made = jax.device_get(program(variables, batch))
                for record, *maps in zip(records, *made, strict=False):
                    extent = np.s_[: record.cams.shape[0], : record.cams.shape[1]]
                    yield record, Refined(*(np.ascontiguousarray(each[extent]) for each in maps))
                meter.advance(len(records))

    return refined
