"""A trained network's CAMs for a whole split, as records."""

import functools
import os
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np

from hfpl_jax.data.dataset import Example, Split
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.merge import merge_cams
from hfpl_jax.inference.multi_scale import make_logits_function, write_records
from hfpl_jax.methods.method import Method
from hfpl_jax.records import Record
from hfpl_jax.training.mesh import Mesh


def make_cam_function(network: nn.Module, method: Method, mesh: Mesh) -> Callable[[dict, jax.Array, jax.Array], jax.Array]:
    """The method's CAM logits, by `make_logits_function`."""

    def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        return method.cam_logits(functools.partial(network.apply, variables), images, sizes)

    return make_logits_function(forward, mesh)


def _classes(example: Example, maps: list[np.ndarray], image_labels: str) -> np.ndarray:
    """The classes whose CAMs are kept; predicted ones have a mean logit above 0, and the likeliest is always among them."""
    if image_labels == "given":
        return example.labels
    pooled = np.mean([logits.mean(axis=(0, 1)) for logits in maps], axis=0)
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
      cam_logits: of `make_cam_function`.
      image_labels: "given": maps of the image's own labels; "predicted": of the classes the network finds.
      **options: of `write_records`.
    """

    def merge(index: int, example: Example, maps: list[np.ndarray], scaled_sizes: list[tuple[int, int]]) -> Record:
        classes = _classes(example, maps, image_labels)
        cams = merge_cams([logits[..., classes] for logits in maps], scaled_sizes, (example.height, example.width))
        return CamRecord(index, example.file_name, example.labels, classes, cams).encode()

    return write_records(split, cam_logits, variables, directory, merge=merge, title=f"CAMs of {split.name}", **options)
