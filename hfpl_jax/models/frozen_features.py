"""What is kept of a frozen backbone's features: some of its layers, in half precision,
each projected to fewer channels where that is wanted.
"""

import dataclasses
import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.shapes import Array

_LARGEST = float(np.finfo(np.float16).max)


@functools.lru_cache(maxsize=8)
def projection(width: int, channels: int) -> np.ndarray:
    """float32 [width, channels], whose columns are orthonormal: the same for everybody.

    Q of the QR decomposition of standard normal numbers drawn from the seed (width,
    channels), the diagonal of R being positive. Products of projected features are
    those of the features times channels / width, on average over such matrices.
    """
    drawn = np.random.default_rng((width, channels)).standard_normal((width, channels))
    q, r = np.linalg.qr(drawn)
    return (q * np.sign(np.diag(r))).astype(np.float32)


@functools.cache
def widths(backbone: nn.Module) -> dict[str, int]:
    """Channels of each feature of a backbone, by name."""
    side = 2 * backbone.output_stride
    found, _ = jax.eval_shape(
        backbone.init_with_output, jax.random.key(0), jnp.zeros((1, side, side, 3))
    )
    return {name: feature.shape[-1] for name, feature in found.items()}


@dataclasses.dataclass(frozen=True)
class FrozenFeatures:
    """Which features are kept, and of what.

    Attributes:
      layers: their names, as the backbone has them.
      channels: to which each is projected; 0 for none.
      long_side: of the photographs that the backbone sees, in pixels.
    """

    layers: tuple[str, ...]
    channels: int
    long_side: int

    def of(self, features: Mapping[str, Array]) -> dict[str, jax.Array]:
        """float16, by name, of all features of a backbone."""
        return {name: self._kept(features[name]) for name in self.layers}

    def _kept(self, feature: Array) -> jax.Array:
        feature = feature.astype(jnp.float32)
        if self.channels:
            matrix = projection(feature.shape[-1], self.channels)
            feature = jnp.matmul(feature, matrix, precision="highest")
        return jnp.clip(feature, -_LARGEST, _LARGEST).astype(jnp.float16)

    def kept_widths(self, backbone: nn.Module) -> dict[str, int]:
        """Channels of each of the kept features."""
        return {name: self.channels or widths(backbone)[name] for name in self.layers}
