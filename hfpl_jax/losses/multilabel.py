"""The multi-label classification loss on pooled logits: what a CAM network is usually
trained with."""

import jax
import jax.numpy as jnp
from jax.nn import softplus

from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, Num, typed


@typed
def soft_margin(
    logits: Float[Array, "*batch c"], labels: Num[Array, "*batch c"] | Bool[Array, "*batch c"]
) -> Float[jax.Array, "*batch c"]:
    """Binary cross-entropy of every class on its own (a binomial posterior a class),
    element by element.

    -y log sigma(z) - (1 - y) log(1 - sigma(z)) = softplus((1 - 2y) z) for y in {0, 1};
    written as softplus(z) - y z, which also holds for soft labels, and computed in
    float32 at least (float64 stays float64).
    """
    logits = at_least_float32(logits)
    return softplus(logits) - jnp.asarray(labels, logits.dtype) * logits


@typed
def pooled_loss(
    pooled: Float[Array, "b c"], labels: Num[Array, "b c"] | Bool[Array, "b c"]
) -> Float[jax.Array, ""]:
    """`soft_margin` of one logit an image and class, mean over both."""
    return jnp.mean(soft_margin(pooled, labels))


@typed
def gap_loss(
    logits: Float[Array, "b h w c"], labels: Num[Array, "b c"] | Bool[Array, "b c"]
) -> Float[jax.Array, ""]:
    """Multi-label soft-margin loss of the globally average-pooled logits (GAP), mean
    over images and classes.

      L_GAP = 1/(B C) sum_bc softplus((1 - 2 y_bc) mean_p z_bpc)

    Args:
      logits: raw CAM logits (before any ReLU), one channel a foreground class.
      labels: image labels, 1 where the class is in the image and 0 elsewhere.

    Source: torch.nn.functional.multilabel_soft_margin_loss on adaptive_avg_pool2d, as
    SEAM and HFPL use it.
    """
    return pooled_loss(jnp.mean(at_least_float32(logits), axis=(1, 2)), labels)
