"""A trained network's CAMs for a whole split, as records."""

import os
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.dataset import Example, Split
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.merge import merge_cams
from hfpl_jax.inference.multi_scale import make_logits_function, write_records
from hfpl_jax.methods.method import Method
from hfpl_jax.runtime.records import Record
from hfpl_jax.runtime.sharding import Mesh


def make_cam_function(
    network: nn.Module, method: Method, mesh: Mesh, *, image_labels: str
) -> Callable[[dict, jax.Array, jax.Array], jax.Array]:
    """The method's CAM logits, by `make_logits_function`; for "predicted" image labels
    the network's logits follow them.
    """

    def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        output = network.apply(variables, images, sizes=sizes)
        cams = method.cam_logits(output)
        return cams if image_labels == "given" else jnp.concatenate([cams, output.logits], axis=-1)

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
    image_labels: str,
    **options,
) -> int:
    """Writes a CAM record for every photograph of `split`; returns their number.

    Args:
      cam_logits: of `make_cam_function`, for the same `image_labels`.
      image_labels: "given": maps of the image's own labels; "predicted": of the classes
        the network finds.
      **options: of `write_records`.
    """

    def merge(
        index: int, example: Example, maps: list[np.ndarray], scaled_sizes: list[tuple[int, int]]
    ) -> Record:
        classes = example.labels
        if image_labels == "predicted":
            maps, logits = zip(*(np.split(both, 2, axis=-1) for both in maps), strict=True)
            classes = _predicted_classes(logits)
        cams = merge_cams(
            [of_scale[..., classes] for of_scale in maps],
            scaled_sizes,
            (example.height, example.width),
        )
        return CamRecord(index, example.file_name, example.labels, classes, cams).encode()

    return write_records(
        split,
        cam_logits,
        variables,
        directory,
        merge=merge,
        title=f"CAMs of {split.name}",
        **options,
    )
