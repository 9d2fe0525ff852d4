"""A classifier's CAMs of photographs, and of a whole split as records."""

import functools
import os
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.dataset import Split
from hfpl_jax.data.stored_features import StoredSplit
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.load_stored import LoadStored
from hfpl_jax.inference.multi_scale import MultiScale, Photograph, make_logits_function
from hfpl_jax.inference.predictor import Predictor, write_records
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.methods.pooling import POOLINGS
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.runtime.records import Record
from hfpl_jax.runtime.sharding import Mesh, local_mesh


def map_stride(network: nn.Module) -> int:
    """Pixels between two positions of a network's maps."""
    return getattr(network, "output_stride", network.backbone.output_stride)


def cam_predictor(
    network: nn.Module,
    method: Method,
    variables: dict,
    settings: MultiScale,
    mesh: Mesh,
) -> Predictor:
    """The method's maps, and behind them the network's logits, which say what is on a
    photograph: see `split_maps`.
    """
    fused = settings.flip and method.fuses_flips

    def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        apply, mirrored = functools.partial(network.apply, variables), None
        if fused:
            images, mirrored, sizes = images[::2], images[1::2], sizes[::2]
        return _with_logits(network, method, method.maps(apply, images, sizes, mirrored), sizes)

    logits = make_logits_function(forward)
    return Predictor(logits, variables, settings, map_stride(network), mesh)


def stored_cam_predictor(
    network: nn.Module,
    method: Method,
    variables: dict,
    settings: MultiScale,
    mesh: Mesh,
    stored: Mapping[str, StoredSplit],
) -> Predictor:
    """The same of splits whose features are `stored`, by the name of the split: the
    backbone is not run.
    """

    def logits(variables: dict, features: dict[str, jax.Array], sizes: jax.Array) -> jax.Array:
        apply = functools.partial(network.apply, variables, method="told")
        maps = method.maps(apply, features, sizes)
        return _with_logits(network, method, maps, sizes).astype(jnp.float32)

    load = functools.partial(LoadStored, stored)
    return Predictor(logits, variables, settings, map_stride(network), mesh, load)


def _with_logits(network: nn.Module, method: Method, maps: Maps, sizes: jax.Array) -> jax.Array:
    cams, pixels = maps
    seen = POOLINGS[method.pooling].seen
    if seen:  # each pixel then says what is pooled, as their mean does
        own = inside(extent(sizes, map_stride(network)), *pixels.shape[1:3])
        pixels = jnp.broadcast_to(seen(pixels, own)[:, None, None], pixels.shape)
    return jnp.concatenate([cams, pixels], axis=-1)


def summed_views(method: Method, settings: MultiScale) -> int:
    """How many images of a photograph are added up at each scale."""
    return 1 if method.fuses_flips else settings.views


def cam_mesh(method: Method, settings: MultiScale, field: str) -> Mesh:
    """The devices of this process for batches of a size that is given in `field`."""
    views = summed_views(method, settings)
    return local_mesh(settings.batch_size, field, views=views)


def split_maps(
    maps: Sequence[np.ndarray], num_classes: int, *, views: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """A photograph's maps, one a scale, and the pooled logit of each class: the mean
    over the positions of what `cam_predictor` has there, then over the scales and the
    `views` that were added up.
    """
    pooled = np.mean([both[..., -num_classes:].mean(axis=(0, 1)) for both in maps], axis=0)
    return [both[..., :-num_classes] for both in maps], pooled / views


def probabilities(pooled: np.ndarray) -> np.ndarray:
    """float32, of pooled logits."""
    return np.exp(-np.logaddexp(0.0, -pooled.astype(np.float64))).astype(np.float32)


def write_cams(
    predictor: Predictor,
    split: Split,
    directory: str | os.PathLike,
    *,
    method: Method,
    num_classes: int,
    image_labels: str,
    **options,
) -> int:
    """Writes a CAM record for every photograph of `split`; returns their number.

    Args:
      predictor: of `cam_predictor`.
      method: merges the maps.
      num_classes: of the network.
      image_labels: "given": maps of the image's own labels; "predicted": of the classes
        whose pooled logit is above 0, and always of the likeliest.
      **options: of `write_records`.
    """
    views = summed_views(method, predictor.settings)

    def merge(
        index: int, example: Photograph, maps: list[np.ndarray], scaled_sizes: list[tuple[int, int]]
    ) -> Record:
        maps, pooled = split_maps(maps, num_classes, views=views)
        classes = example.labels
        if image_labels == "predicted":
            classes = np.flatnonzero((pooled > 0.0) | (pooled == pooled.max()))
        size = example.height, example.width
        cams = method.merge(maps, classes, scaled_sizes, size, predictor.output_stride)
        return CamRecord(
            index, example.file_name, example.labels, classes, cams, probabilities(pooled)
        ).encode()

    return write_records(
        predictor, split, directory, merge=merge, title=f"CAMs of {split.name}", **options
    )
