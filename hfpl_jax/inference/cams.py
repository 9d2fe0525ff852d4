"""A trained network's CAMs for a whole split, as records."""

import functools
import os
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.dataset import Example, Split
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.multi_scale import make_logits_function, write_records
from hfpl_jax.methods.method import Method
from hfpl_jax.runtime.records import Record
from hfpl_jax.runtime.sharding import Mesh


def make_cam_function(
    network: nn.Module, method: Method, mesh: Mesh, *, image_labels: str, flip: bool = False
) -> Callable[[dict, jax.Array, jax.Array], jax.Array]:
    """The method's maps, by `make_logits_function`; for "predicted" image labels the
    network's logits follow them.

    Args:
      flip: whether every second image is the mirror image of the one before and the
        method makes one map of both.
    """

    def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        apply, mirrored = functools.partial(network.apply, variables), None
        if flip:
            images, mirrored, sizes = images[::2], images[1::2], sizes[::2]
        maps = method.maps(apply, images, sizes, mirrored)
        return maps.cams if image_labels == "given" else jnp.concatenate(maps, axis=-1)

    return make_logits_function(forward, mesh)


def _predicted_classes(logits: Sequence[np.ndarray]) -> np.ndarray:
    """Those whose mean logit is above 0, and always the likeliest."""
    pooled = np.mean([of_scale.mean(axis=(0, 1)) for of_scale in logits], axis=0)
    return np.flatnonzero((pooled > 0.0) | (pooled == pooled.max()))


def write_cams(
    split: Split,
    cam_logits: Callable[[dict, jax.Array, jax.Array], jax.Array],
    variables: dict,
    directory: str | os.PathLike,
    *,
    method: Method,
    num_classes: int,
    image_labels: str,
    output_stride: int,
    **options,
) -> int:
    """Writes a CAM record for every photograph of `split`; returns their number.

    Args:
      cam_logits: of `make_cam_function`, for the same `image_labels`.
      method: merges the maps.
      num_classes: of the network.
      image_labels: "given": maps of the image's own labels; "predicted": of the classes
        the network finds.
      output_stride: of the network.
      **options: of `write_records`.
    """

    def merge(
        index: int, example: Example, maps: list[np.ndarray], scaled_sizes: list[tuple[int, int]]
    ) -> Record:
        classes = example.labels
        if image_labels == "predicted":
            classes = _predicted_classes([both[..., -num_classes:] for both in maps])
            maps = [both[..., :-num_classes] for both in maps]
        size = example.height, example.width
        cams = method.merge(maps, classes, scaled_sizes, size, output_stride)
        return CamRecord(index, example.file_name, example.labels, classes, cams).encode()

    return write_records(
        split,
        cam_logits,
        variables,
        directory,
        merge=merge,
        output_stride=output_stride,
        title=f"CAMs of {split.name}",
        **options,
    )
