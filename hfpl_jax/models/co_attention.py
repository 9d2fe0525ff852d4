"""Co-attention: what a photograph's map is told by the map of another, at each pixel a
mean of the pixels there that fit.

Source: Li, Zhou, Li, Wang, "Group-Wise Semantic Mining for Weakly Supervised Semantic
Segmentation", AAAI 2021; models/vgg_gnn.py of its program.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from hfpl_jax.shapes import Array, Bool, Float, typed

TILE_PAIRS = 1024**2
"""Of pixels of two maps, whose affinities are held at a time for each edge."""


@typed
def attend(
    asking: Float[Array, "g m n d"],
    keys: Float[Array, "g m j p d"],
    values: Float[Array, "g m j p k"],
    valid: Bool[Array, "g m j p"] | None = None,
) -> Float[Array, "g m j n k"]:
    """For each pixel of a member and each of its neighbours j the mean of the neighbour's
    values, weighted by a softmax over its pixels p.

      sum_p softmax_p(<keys_p, asking_n>) values_p

    Affinities are held for some pixels n at a time, `TILE_PAIRS` of them an edge, and the
    backward pass computes them again.

    Args:
      asking: of members m of groups g.
      keys, values: of their neighbours.
      valid: False in the neighbours' padding, which takes no part.
    """
    g, m, n, d = asking.shape
    tile = max(1, min(n, TILE_PAIRS // keys.shape[3]))
    count = -(-n // tile)

    @jax.checkpoint
    def one_tile(some):
        affinity = jnp.einsum("gmnd,gmjpd->gmjnp", some, keys, precision="highest")
        if valid is not None:
            affinity = jnp.where(valid[..., None, :], affinity, -jnp.inf)
        weights = jax.nn.softmax(affinity, axis=-1)
        return jnp.einsum("gmjnp,gmjpk->gmjnk", weights, values, precision="highest")

    tiles = jnp.pad(asking, ((0, 0), (0, 0), (0, count * tile - n), (0, 0)))
    tiles = jnp.moveaxis(tiles.reshape(g, m, count, tile, d), 2, 0)
    told = jnp.moveaxis(jax.lax.map(one_tile, tiles), 0, 3)
    return told.reshape(*told.shape[:3], count * tile, values.shape[-1])[:, :, :, :n]


class CoAttention(nn.Module):
    """The messages to each member of a group.

      a = asking(x), b = keys(x): 1x1 to half of the channels, the first with bias
      m = attend(a of the member, b and x of a neighbour)
      message = m * sigmoid(gate(m)), gate 1x1 to one channel without bias

    `asking` is the receiver's and `keys` the sender's, so the two directions of an edge
    differ. Nothing is scaled by the number of channels. The published keys have a bias,
    which no softmax over their pixels sees: it is left out.
    """

    kernel_init: Initializer

    @nn.compact
    @typed
    def __call__(
        self,
        maps: Float[Array, "g m h w k"],
        neighbours: Sequence[Sequence[int]],
        valid: Bool[Array, "g m h w"] | None = None,
    ) -> Float[Array, "g m h w _"]:
        """What each member hears of its neighbours, one behind the other on the channels.

        Args:
          maps: of m members of g groups.
          neighbours: of each member the numbers of others, equally many for all.
          valid: False in the padding of a map.
        """
        g, m, h, w, k = maps.shape
        flat, of = maps.reshape(g, m, h * w, k), np.asarray(neighbours)
        asking, keys = (
            nn.Dense(
                k // 2,
                use_bias=name == "asking",
                kernel_init=self.kernel_init,
                precision="highest",
                name=name,
            )(flat)
            for name in ("asking", "keys")
        )
        inside = None if valid is None else valid.reshape(g, m, h * w)[:, of]
        told = attend(asking, keys[:, of], flat[:, of], inside)
        gate = nn.Dense(
            1, use_bias=False, kernel_init=self.kernel_init, precision="highest", name="gate"
        )
        messages = told * nn.sigmoid(gate(told))
        return jnp.moveaxis(messages, 2, 3).reshape(g, m, h, w, k * of.shape[1])
