"""A photograph as one vector: the mean of a backbone's last feature over its positions
(global average pooling, GAP).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.inference.multi_scale import (
    MultiScale,
    Photograph,
    batches_by_shape,
    make_logits_function,
)
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.predictor import Predictor
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.runtime.progress import Meter
from hfpl_jax.runtime.sharding import local_mesh, replicated


def pooled_features(
    backbone: nn.Module,
    variables: dict,
    photographs: Sequence[Photograph],
    *,
    sizes: Sequence[tuple[int, int]],
    long_side: int,
    batch_size: int,
    padded_shapes: int,
) -> np.ndarray:
    """float32 [n, k], a row a photograph.

    Args:
      variables: of the backbone.
      photographs: of different names; each is read once.
      sizes: height and width of each.
      long_side: pixels at which the backbone sees them; 0 for their own size.
      batch_size: photographs, which divides into the devices.
      padded_shapes: compilations of the backbone at most.
    """

    def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        feature = backbone.apply(variables, images, sizes=sizes)[backbone.head_feature]
        feature = feature.astype(jnp.float32)
        own = inside(extent(sizes, backbone.output_stride), *feature.shape[1:3])[..., None]
        mean = jnp.sum(feature * own, axis=(1, 2)) / jnp.sum(own, axis=(1, 2))
        return mean[:, None, None]

    settings = MultiScale((1.0,), long_side or None, False, batch_size)
    mesh = local_mesh(batch_size, "batch_size")
    placed = jax.device_put(variables, replicated(mesh))
    predictor = Predictor(
        make_logits_function(forward), placed, settings, backbone.output_stride, mesh
    )
    seen = {str(index): settings.base_size(size) for index, size in enumerate(sizes)}
    shapes = plan_shapes(np.asarray(list(seen.values()), np.int64), padded_shapes)
    tasks = batches_by_shape(seen, shapes, set(), batch_size)
    found: dict[int, np.ndarray] = {}
    with Meter("features", len(photographs)) as meter:
        for batch in predictor.batches(photographs, tasks, shapes, _vector):
            found |= dict(batch)
            meter.advance(len(batch))
    return np.stack([found[index] for index in range(len(photographs))])


def _vector(
    index: int, photograph: Photograph, maps: list[np.ndarray], scaled_sizes: list
) -> np.ndarray:
    return maps[0][0, 0]
