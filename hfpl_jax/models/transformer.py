"""A block of a vision transformer: attention between the tokens of an image, then a
perceptron on each token.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; the arithmetic is
that of timm's VisionTransformer.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.shapes import Array

Dtypes = dict[str, DTypeLike]
"""`dtype` and `param_dtype` of every layer."""


def gelu(x: Array) -> Array:
    """x P(X <= x), X normal: the exact one, as PyTorch has it."""
    return nn.gelu(x, approximate=False)


def quick_gelu(x: Array) -> Array:
    """x sigmoid(1.702 x): CLIP's."""
    return x * nn.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"gelu": gelu, "quick_gelu": quick_gelu}

truncated_normal = nn.initializers.normal(0.02)
"""timm truncates at the values -2 and 2, which are a hundred deviations away."""


def layer_norm(epsilon: float, dtypes: Dtypes, name: str) -> nn.LayerNorm:
    """With the variance as the mean of squared differences: the difference of means is
    wrong by a percent where a token's spread is small beside its mean.
    """
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, **dtypes, name=name)


class BlockOutput(NamedTuple):
    """`tokens` [b, t, k]; `attention` [b, t, t], the mean over the heads, rows are the
    tokens that look, or None where it was not asked for.
    """

    tokens: jax.Array
    attention: jax.Array | None


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Attributes:
      heads: of the attention.
      activation: one of `ACTIVATIONS`.
      epsilon: of the normalisations.
      layer_scale: whether each channel of both branches has a learnt factor, as in
        DINOv2.
      drop_path: in training, the share of images for which a branch is left out; the
        others' is divided by the rest.
      dtypes: of the layers.
    """

    heads: int
    activation: str
    epsilon: float
    layer_scale: bool
    drop_path: float
    dtypes: Dtypes

    @nn.compact
    def __call__(
        self, x: Array, seen: Array | None, *, attention: bool, deterministic: bool
    ) -> BlockOutput:
        """Args:
        x: tokens [b, t, k].
        seen: bool [b, t], False for tokens that no other one looks at; None: all.
        attention: whether it is wanted.
        deterministic: no branch is left out.
        """
        branch, weights = self._attended(
            layer_norm(self.epsilon, self.dtypes, "norm1")(x), seen, attention
        )
        x = x + self._branch(branch, "scale1", deterministic)
        y = layer_norm(self.epsilon, self.dtypes, "norm2")(x)
        y = ACTIVATIONS[self.activation](self._dense(4 * x.shape[-1], "expand")(y))
        return BlockOutput(
            x + self._branch(self._dense(x.shape[-1], "reduce")(y), "scale2", deterministic),
            weights,
        )

    def _dense(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, kernel_init=truncated_normal, **self.dtypes, name=name)

    def _attended(self, x, seen, wanted):
        b, t, k = x.shape
        joint = self._dense(3 * k, "query_key_value")(x)
        query, key, value = (
            joint.reshape(b, t, 3, self.heads, k // self.heads)[:, :, part] for part in range(3)
        )
        mask = None if seen is None else seen[:, None, None]
        if not wanted:
            mixed, mean = jax.nn.dot_product_attention(query, key, value, mask=mask), None
        else:
            products = jnp.einsum("bihd,bjhd->bhij", query, key).astype(jnp.float32)
            products *= query.shape[-1] ** -0.5
            if mask is not None:
                products = jnp.where(mask, products, jnp.finfo(jnp.float32).min)
            weights = nn.softmax(products)
            mean = weights.mean(axis=1)
            mixed = jnp.einsum("bhij,bjhd->bihd", weights.astype(value.dtype), value)
        return self._dense(k, "project")(mixed.reshape(b, t, k)), mean

    def _branch(self, y, name, deterministic):
        if self.layer_scale:
            y = y * self.param(name, nn.initializers.constant(1e-5), y.shape[-1:]).astype(y.dtype)
        if self.drop_path and not deterministic:
            whole = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=False)
            y = whole(y)
        return y
