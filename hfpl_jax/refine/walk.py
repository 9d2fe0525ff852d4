"""The random walk over a whole split: CAM records in, a label map a photograph out, in
batches of padded photographs.
"""

import dataclasses
from collections.abc import Iterator, Sequence, Set
from typing import cast

import flax.linen as nn
import grain
import jax
import numpy as np

from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.multi_scale import batches_by_shape
from hfpl_jax.inference.pseudo_labels import label_map_of, margin
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.refine.background import background_score, threshold_background
from hfpl_jax.refine.random_walk import random_walk, upsample_walked
from hfpl_jax.runtime.observation import waited_for
from hfpl_jax.runtime.progress import Meter
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, put_batch, replicated

Pairs = Sequence[tuple[dict, Example]]
"""CAM records, each with its photograph."""


@dataclasses.dataclass(frozen=True)
class WalkSettings:
    """The starting background, exponent beta of the affinities, steps, pixels a
    feature's cell, photographs a batch.
    """

    # Of `background_score`; 0: the background is the threshold, as it is without the
    # walk
    alpha: float
    threshold: float
    beta: int
    steps: int
    cell: int
    batch_size: int

    def start(self, cams: np.ndarray) -> np.ndarray:
        """The scores that walk, before they are averaged over cells: background and
        classes of one photograph.
        """
        return (
            background_score(cams, self.alpha)
            if self.alpha
            else threshold_background(cams, self.threshold)
        )


@dataclasses.dataclass(frozen=True)
class _LoadBatch(grain.transforms.Map):
    pairs: Pairs
    settings: WalkSettings
    shapes: tuple[tuple[int, int], ...]
    channels: int

    def map(
        self, task: tuple[int, tuple[int, ...]]
    ) -> tuple[list[CamRecord], dict[str, np.ndarray]]:
        cell, rows = self.settings.cell, self.settings.batch_size
        height, width = (-(-side // cell) * cell for side in self.shapes[task[0]])
        pairs = [self.pairs[index] for index in task[1]]
        records = [CamRecord.decode(record) for record, _ in pairs]
        images = np.zeros((rows, height, width, 3), np.uint8)
        scores = np.zeros((rows, height // cell, width // cell, self.channels), np.float32)
        sizes = np.full((rows, 2), (height, width), np.int32)
        for row, (record, (_, example)) in enumerate(zip(records, pairs, strict=True)):
            pooled = average_pool(self.settings.start(record.cams), cell)
            sizes[row] = example.height, example.width
            images[row, : example.height, : example.width] = decode_image(
                example.image, example.file_name
            )
            scores[row, : pooled.shape[0], : pooled.shape[1], : pooled.shape[2]] = pooled
        return records, {"images": images, "sizes": sizes, "scores": scores}


def make_walk(network: nn.Module, settings: WalkSettings, mesh: Mesh):
    """`walk(variables, images, sizes, scores)`, jitted: walked scores [b, H, W, k] at
    the photographs' resolution, padded.
    """

    def walk(variables, images, sizes, scores):
        cells = -(-sizes // settings.cell)
        # As published, the photograph is completed to whole cells with the mean colour,
        # and the network sees that as part of it.
        pixels = normalize(images, inside(sizes, *images.shape[1:3]))
        features = cast(jax.Array, network.apply(variables, pixels, cells * settings.cell))
        walked = random_walk(features, scores, cells, beta=settings.beta, steps=settings.steps)
        return upsample_walked(walked, cells, cell=settings.cell)

    everywhere, split = replicated(mesh), batch_sharding(mesh)
    return jax.jit(walk, in_shardings=(everywhere, split, split, split), out_shardings=split)


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


def walked_labels(
    pairs: Pairs,
    walk,
    variables: dict,
    *,
    settings: WalkSettings,
    sizes: dict[str, tuple[int, int]],
    shapes: Sequence[tuple[int, int]],
    most_classes: int,
    done: Set[str],
    mesh: Mesh,
    title: str,
) -> Iterator[tuple[CamRecord, np.ndarray, np.ndarray]]:
    """(CAM record, label map, confidence) of every photograph in this process's share
    that is not `done`.

    Args:
      pairs: CAM records and photographs.
      walk: of `make_walk`.
      sizes: of `record_sizes`.
      shapes: of `plan_shapes`, for this split alone or for several that share the
        compiled programs.
      most_classes: a photograph of these splits has.
      title: of the progress bar.
    """
    tasks = batches_by_shape(sizes, shapes, done, settings.batch_size)
    loaded = grain.MapDataset.source(tasks).map(
        _LoadBatch(pairs, settings, tuple(shapes), 1 + most_classes)
    )
    stream = loaded.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))
    with Meter(title, sum(len(indices) for _, indices in tasks)) as meter:
        for batch_records, batch in waited_for(stream):
            walked = np.asarray(jax.device_get(walk(variables, *put_batch(mesh, batch).values())))
            for record, scores in zip(
                batch_records, walked, strict=False
            ):  # the last batch is filled up
                height, width, count = record.cams.shape
                scores = scores[:height, :width, : 1 + count]
                yield (
                    record,
                    label_map_of(scores, record.classes),
                    margin(scores / np.maximum(scores.sum(axis=-1, keepdims=True), 1e-5)),
                )
            meter.advance(len(batch_records))
