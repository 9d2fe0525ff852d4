"""Importance sampling loss (ISL): classify pixels drawn where a class is believed to
be, in place of an average over all.

High-Fidelity Pseudo-Labels (Jonnarth, Zhang, Felsberg, WACV 2024), binomial posteriors:
every class has its own distribution over the pixels of an image. Use it as part of the
classification term:

    loss = (1 - weight) * gap_loss(logits, labels) + weight *
    importance_sampling_loss(key, logits, labels)
"""

import jax
import jax.numpy as jnp

from hfpl_jax.losses.multilabel import soft_margin
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, Int, Key, Num, UInt32, typed

WEIGHT_FLOOR = 1e-5
"""Added to every posterior, so that a class that is certain to be absent can still be
sampled.
"""


_GROUP = 8
"""Pixels whose weights are added up at once, and groups of a block."""


def _weights(logits: Array) -> jax.Array:
    return jax.nn.sigmoid(jax.lax.stop_gradient(at_least_float32(logits))) + WEIGHT_FLOOR


@typed
def sampling_weights(logits: Float[Array, "b h w c"]) -> Float[jax.Array, "b c n"]:
    """Unnormalised probability of drawing each pixel (n = h w, row by row): w_bcp =
    sigma(z_bpc) + 1e-5.

    No gradient flows through the weights.
    """
    b, h, w, c = logits.shape
    return jnp.swapaxes(_weights(logits).reshape(b, h * w, c), 1, 2)


@typed
def sample_pixels(
    key: Key[Array, ""] | UInt32[Array, "2"], logits: Float[Array, "b h w c"], *, num_samples: int
) -> Int[jax.Array, "b c s"]:
    """Draws `num_samples` pixels with replacement for every image and class, with
    probability w_bcp / sum_p w_bcp.

    The cumulative sum of the weights is inverted at uniform numbers: one number a draw,
    where a Gumbel draw needs one a pixel. That is done over blocks of 64 pixels, then
    over the groups of 8 in the block, then over the pixels of the group: every pixel is
    added up, few are looked at again. Returns flat pixel indices (row * width +
    column).
    """
    b, h, w, c = logits.shape
    pixels, last = logits.reshape(b, h * w, c), h * w - 1
    weights = jnp.pad(_weights(pixels), ((0, 0), (0, -(h * w) % _GROUP**2), (0, 0)))
    groups = _sums_of_groups(weights)
    blocks = _sums_of_groups(groups)
    uniform = jax.random.uniform(key, (b, c, num_samples), blocks.dtype)
    level = jnp.swapaxes(uniform, 1, 2) * jnp.sum(blocks, axis=1, keepdims=True)

    block, level = _invert(blocks[:, None], level)
    within, level = _invert(_at(groups, _members(block)), level)
    group = _GROUP * block + within
    members = _members(group)
    inside = jnp.where(members <= last, _weights(_at(pixels, members)), 0.0)
    member, _ = _invert(inside, level)
    # Rounding may put a level on the total itself, past the last pixel.
    drawn = jnp.minimum(_GROUP * group + member, last)
    return jnp.swapaxes(drawn, 1, 2).astype(jnp.int32)


def _sums_of_groups(weights: jax.Array) -> jax.Array:
    """Of `_GROUP` neighbours, [b, n, c] -> [b, n / 8, c]. On a CPU a product with ones
    is done by all cores, a sum by one.
    """
    b, n, c = weights.shape
    grouped = weights.reshape(b, n // _GROUP, _GROUP, c)
    ones = jnp.ones(_GROUP, weights.dtype)
    return jnp.einsum("bngc,g->bnc", grouped, ones, precision="highest")


def _members(groups: jax.Array) -> jax.Array:
    """The indices [b, s, 8, c] of what is in each of the groups [b, s, c]."""
    return _GROUP * groups[:, :, None] + jnp.arange(_GROUP)[:, None]


def _at(values: Array, indices: jax.Array) -> jax.Array:
    """The values [b, n, c] of each class at its indices [b, s, k, c]."""
    b, s, k, c = indices.shape
    flat = indices.reshape(b, s * k, c)
    return jnp.take_along_axis(values, flat, axis=1, mode="clip").reshape(b, s, k, c)


def _invert(weights: jax.Array, level: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of weights [b, s, k, c] the first whose cumulative sum exceeds the level [b, s, c],
    and what is left of the level there.
    """
    count = weights.shape[2]
    passed = jnp.cumsum(weights, axis=2) <= level[:, :, None]
    index = jnp.minimum(jnp.sum(passed, axis=2), count - 1)
    before = jnp.arange(count)[:, None] < index[:, :, None]
    return index, level - jnp.sum(jnp.where(before, weights, 0.0), axis=2)


@typed
def sampled_loss(
    logits: Float[Array, "b h w c"],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    pixels: Int[Array, "b c s"],
) -> Float[jax.Array, ""]:
    """The soft-margin loss of the logits at given `pixels`, mean over images, classes
    and draws.

      L = 1/(B C S) sum_bcs softplus((1 - 2 y_bc) z_b,p(s),c)

    Differentiable in the sampled logits alone.
    """
    b, h, w, c = logits.shape
    # Before the gather, so that the gradients of several draws of one pixel are added
    # in float32 too.
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    places = jnp.swapaxes(pixels, 1, 2)
    sampled = jnp.take_along_axis(logits.reshape(b, h * w, c), places, axis=1, mode="clip")
    return jnp.mean(soft_margin(sampled, jnp.broadcast_to(labels[:, None, :], sampled.shape)))


@typed
def importance_sampling_loss(
    key: Key[Array, ""] | UInt32[Array, "2"],
    logits: Float[Array, "b h w c"],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    *,
    num_samples: int = 10,
) -> Float[jax.Array, ""]:
    """Importance sampling loss: the soft-margin loss at pixels drawn from each class's
    own posterior.

      p_s ~ (sigma(z_bpc) + 1e-5) / sum_p' (sigma(z_bp'c) + 1e-5)
        for s = 1 ... S, with replacement, no gradient
      L_ISL = 1/(B C S) sum_bcs softplus((1 - 2 y_bc) z_b,p_s,c)

    Args:
      key: random key; a new one each step.
      logits: raw CAM logits of the foreground classes at the CAM's own resolution,
        before any ReLU.
      labels: image labels in {0, 1}. Absent classes are sampled too: their most likely
        pixels are pushed down.
      num_samples: draws S for every image and class (the published program takes 10).

    Returns:
      The mean over images, classes and draws, a float32 scalar.

    Source: HFPL, importance sampling loss with binomial posteriors; official program,
    CAM training of SEAM++.
    """
    return sampled_loss(logits, labels, sample_pixels(key, logits, num_samples=num_samples))


@typed
def expected_importance_sampling_loss(
    logits: Float[Array, "b h w c"], labels: Num[Array, "b c"] | Bool[Array, "b c"]
) -> Float[jax.Array, ""]:
    """The importance sampling loss with infinitely many draws: no key, no variance.

      E[L_ISL] = 1/(B C) sum_bc sum_p w_bcp / sum_p' w_bcp' * softplus((1 - 2 y_bc)
        z_bpc) with w held constant

    Its gradient is the expected gradient of `importance_sampling_loss`.
    """
    weights = sampling_weights(logits)
    b, h, w, c = logits.shape
    losses = soft_margin(
        logits.reshape(b, h * w, c), jnp.broadcast_to(labels[:, None, :], (b, h * w, c))
    )
    return jnp.mean(
        jnp.einsum(
            "bcn,bnc->bc",
            weights / jnp.sum(weights, axis=-1, keepdims=True),
            losses,
            precision="highest",
        )
    )
