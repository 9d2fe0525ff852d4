"""A trained network's CAMs for a whole split: several scales, mirrored or not, streamed into records.

Photographs are grouped by size so that a batch shares one padded shape; the network treats the padding as its own zero
padding, so a CAM does not depend on the shape it was padded to nor on its neighbours in the batch.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.augment import resize
from hfpl_jax.data.dataset import Example, Split, decode_image
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.merge import merge_cams
from hfpl_jax.inference.padding import scaled_size, smallest_fit
from hfpl_jax.methods.method import Method
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.progress import Meter, track
from hfpl_jax.records import RecordWriter, finished_records
from hfpl_jax.training.mesh import Mesh, batch_sharding, put_batch, replicated


@dataclasses.dataclass(frozen=True)
class CamSettings:
    """How CAMs are made.

    Attributes:
      scales: factors of the image's size.
      long_side: pixels of the long side at scale 1, or None for the photograph's own size.
      flip: whether mirrored images are added.
      batch_size: photographs in a batch (twice as many images with `flip`).
      image_labels: "given": maps of the image's own labels; "predicted": of the classes the network finds.
    """

    scales: tuple[float, ...]
    long_side: int | None
    flip: bool
    batch_size: int
    image_labels: str

    def base_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size if self.long_side is None else scaled_size(size, self.long_side / max(size))


def make_cam_function(network: nn.Module, method: Method, mesh: Mesh) -> Callable[[dict, jax.Array, jax.Array], jax.Array]:
    """`cam_logits(variables, images, sizes)`, jitted: uint8 [b, h, w, 3] padded images of `sizes` [b, 2] to float32 logits."""

    def cam_logits(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        rows = jnp.arange(images.shape[1]) < sizes[:, :1]
        columns = jnp.arange(images.shape[2]) < sizes[:, 1:]
        pixels = normalize(images, rows[:, :, None] & columns[:, None, :])
        return method.cam_logits(functools.partial(network.apply, variables), pixels, sizes).astype(jnp.float32)

    everywhere, split = replicated(mesh), batch_sharding(mesh)
    return jax.jit(cam_logits, in_shardings=(everywhere, split, split), out_shardings=split)


@dataclasses.dataclass(frozen=True)
class _LoadBatch(grain.transforms.Map):
    """Indices of one shape's photographs -> the photographs, and a padded batch of images for every scale."""

    split: Split
    settings: CamSettings
    shapes: tuple[tuple[int, int], ...]

    def map(self, task: tuple[int, tuple[int, ...]]) -> tuple[dict[int, Example], list[dict[str, np.ndarray]]]:
        shape, indices = task
        examples = {index: self.split[index] for index in indices}
        photographs = [decode_image(example.image, example.file_name) for example in examples.values()]
        return examples, [self._pad(photographs, self.shapes[shape], scale) for scale in self.settings.scales]

    def _pad(self, photographs: list[np.ndarray], shape: tuple[int, int], scale: float) -> dict[str, np.ndarray]:
        height, width = (int(np.ceil(side * scale)) for side in shape)
        views = 2 if self.settings.flip else 1
        # The last batch is filled up: its shape must stay the same, and what the empty rows give is not read.
        images = np.zeros((views * self.settings.batch_size, height, width, 3), np.uint8)
        sizes = np.full((views * self.settings.batch_size, 2), (height, width), np.int32)
        for row, photograph in enumerate(photographs):
            base = self.settings.base_size(photograph.shape[:2])
            scaled = resize(photograph, *scaled_size(base, scale))
            for view in range(views):
                place = views * row + view
                sizes[place] = scaled.shape[:2]
                images[place, : sizes[place, 0], : sizes[place, 1]] = scaled[:, ::-1] if view else scaled
        return {"images": images, "sizes": sizes}


def photograph_sizes(split: Split, settings: CamSettings) -> dict[str, tuple[int, int]]:
    """File name -> (height, width) at scale 1, in the order of the split."""
    examples = track((split[index] for index in range(len(split))), f"sizes of {split.name}", len(split))
    return {example.file_name: settings.base_size((example.height, example.width)) for example in examples}


def _tasks(
    sizes: dict[str, tuple[int, int]], shapes: Sequence[tuple[int, int]], done: Sequence[str], batch_size: int
) -> list[tuple[int, tuple[int, ...]]]:
    """(shape, photographs) of every batch still to do."""
    finished = set(done)
    groups: list[list[int]] = [[] for _ in shapes]
    for index, (name, size) in enumerate(sizes.items()):
        if name not in finished:
            groups[smallest_fit(size, shapes)].append(index)
    return [(shape, tuple(group[at : at + batch_size])) for shape, group in enumerate(groups) for at in range(0, len(group), batch_size)]


def _classes(example: Example, maps: list[np.ndarray], image_labels: str) -> np.ndarray:
    """The classes whose CAMs are kept; predicted ones have a mean logit above 0, and the likeliest is always among them."""
    if image_labels == "given":
        return example.labels
    pooled = np.mean([logits.mean(axis=(0, 1)) for logits in maps], axis=0)
    return np.flatnonzero((pooled > 0.0) | (pooled == pooled.max()))


def _merge(
    index: int,
    example: Example,
    images: list[dict[str, np.ndarray]],
    outputs: list[np.ndarray],
    row: int,
    settings: CamSettings,
    output_stride: int,
) -> CamRecord:
    views = 2 if settings.flip else 1
    maps, scaled_sizes = [], []
    for batch, logits in zip(images, outputs, strict=True):
        height, width = (int(side) for side in batch["sizes"][views * row])
        extent = np.s_[: -(-height // output_stride), : -(-width // output_stride)]
        view_maps = [logits[views * row + view][extent] for view in range(views)]
        maps.append(sum(mirrored[:, ::-1] if view else mirrored for view, mirrored in enumerate(view_maps)))
        scaled_sizes.append((height, width))
    classes = _classes(example, maps, settings.image_labels)
    cams = merge_cams([logits[..., classes] for logits in maps], scaled_sizes, (example.height, example.width))
    return CamRecord(index, example.file_name, example.labels, classes, cams)


def write_cams(
    split: Split,
    cam_logits: Callable[[dict, jax.Array, jax.Array], jax.Array],
    variables: dict,
    directory: str | os.PathLike,
    *,
    settings: CamSettings,
    sizes: dict[str, tuple[int, int]],
    shapes: Sequence[tuple[int, int]],
    output_stride: int,
    mesh: Mesh,
    shard_size: int,
) -> int:
    """Writes a CAM record for every photograph of `split`; those in whole shards already are left out.

    Args:
      cam_logits: of `make_cam_function`.
      sizes: of `photograph_sizes`.
      shapes: of `plan_shapes`, for this split alone or for several that share the compiled programs.
      output_stride: of the network: an image of height h has ceil(h / output_stride) rows of logits.
      shard_size: records a shard, and so the most that a killed run computes again.

    Returns:
      The number of records in `directory`.
    """
    done, next_shard = finished_records(directory)
    tasks = _tasks(sizes, shapes, done, settings.batch_size)
    loaded = grain.MapDataset.source(tasks).map(_LoadBatch(split, settings, tuple(shapes)))
    stream = loaded.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))

    def computed() -> Iterator[tuple]:
        waiting = None
        for examples, images in stream:  # the device works on one batch while the host merges the one before
            outputs = [cam_logits(variables, *put_batch(mesh, batch).values()) for batch in images]
            if waiting:
                yield waiting
            waiting = examples, images, outputs
        if waiting:
            yield waiting

    with (
        RecordWriter(directory, shard_size=shard_size, first_shard=next_shard) as writer,
        Meter(f"CAMs of {split.name}", len(split), done=len(done)) as meter,
    ):
        for examples, images, outputs in computed():
            host = [np.asarray(jax.device_get(output)) for output in outputs]
            for row, (index, example) in enumerate(examples.items()):
                writer.write(_merge(index, example, images, host, row, settings, output_stride).encode())
            meter.advance(len(examples))
    return len(split)
