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


@typed
def sampling_weights(logits: Float[Array, "b h w c"]) -> Float[jax.Array, "b c n"]:
    """Unnormalised probability of drawing each pixel (n = h w, row by row): w_bcp =
    sigma(z_bpc) + 1e-5.

    No gradient flows through the weights.
    """
    logits = jax.lax.stop_gradient(at_least_float32(logits))
    b, h, w, c = logits.shape
    return jnp.swapaxes(jax.nn.sigmoid(logits).reshape(b, h * w, c), 1, 2) + WEIGHT_FLOOR


@typed
def sample_pixels(
    key: Key[Array, ""] | UInt32[Array, "2"], logits: Float[Array, "b h w c"], *, num_samples: int
) -> Int[jax.Array, "b c s"]:
    """Draws `num_samples` pixels with replacement for every image and class, with
    probability w_bcp / sum_p w_bcp.

    The cumulative sum of the weights is inverted at uniform numbers: one number a draw,
    where a Gumbel draw needs one a pixel. Returns flat pixel indices (row * width +
    column).
    """
    cumulative = jnp.cumsum(sampling_weights(logits), axis=-1)
    total = cumulative[..., -1:]
    level = jax.random.uniform(key, (*cumulative.shape[:2], num_samples), cumulative.dtype) * total
    search = jnp.vectorize(
        lambda sums, at: jnp.searchsorted(sums, at, side="right"), signature="(n),(s)->(s)"
    )
    # Rounding may put a level on the total itself, one past the last pixel.
    return jnp.minimum(search(cumulative, level), cumulative.shape[-1] - 1).astype(jnp.int32)


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
    flat = jnp.swapaxes(logits.reshape(b, h * w, c), 1, 2)
    sampled = jnp.take_along_axis(flat, pixels, axis=-1, mode="clip")
    return jnp.mean(
        soft_margin(
            jnp.swapaxes(sampled, 1, 2),
            jnp.broadcast_to(labels[:, None, :], (b, pixels.shape[-1], c)),
        )
    )


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
