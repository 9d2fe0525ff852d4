"""Views of a photograph are told from other photographs: AMDIM's noise-contrastive
estimation of mutual information between features of several sizes.

Source: Bachman, Hjelm, Buchwalter, "Learning Representations by Maximizing Mutual
Information Across Views", NeurIPS 2019; costs.py of its program.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.errors import InputError
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Float, Int, typed

REGULARISER = 0.05
"""Of the mean square of the scores."""


@typed
def contrastive_estimation(
    sources: Float[Array, "b k"], targets: Float[Array, "b l k"], *, clip: float | int = 20.0
) -> tuple[Float[jax.Array, ""], Float[jax.Array, ""]]:
    """(loss, regulariser) of one direction: the feature of an image has to find every
    position of the same image's other view among all positions of the other images.

      s_bnl = source_b . target_nl / sqrt(k);   S = clip * tanh(s / clip)
      L = -mean_bl (S_bbl - log(exp S_bbl + sum_{n != b, m} exp S_bnm))
      R = 0.05 mean s^2

    The other positions of the same image are neither found nor confused. The scores are
    float32 whatever the features are.

    Args:
      sources: of the `b` images of the whole batch, over all devices.
      targets: at `l` positions of the other view.
      clip: c, above which scores hardly grow.

    Raises:
      InputError: a batch of one image, which nothing can be told from.
    """
    if len(sources) < 2:
        raise InputError(
            "A batch of one photograph has no others that it could be told from. Give two at "
            "least, and better dozens."
        )
    sources, targets = at_least_float32(sources), at_least_float32(targets)
    scores = jnp.einsum("bk,nlk->bnl", sources, targets, precision="highest")
    scores = scores / jnp.sqrt(sources.shape[1]).astype(scores.dtype)
    regulariser = REGULARISER * jnp.mean(jnp.square(scores))
    clipped = clip * jnp.tanh(scores / clip)
    own = jnp.eye(len(sources), dtype=bool)
    found = jnp.einsum("bbl->bl", clipped)
    others = jnp.where(own[:, :, None], -jnp.inf, clipped)
    confused = jax.nn.logsumexp(others, axis=(1, 2))
    loss = jnp.mean(jnp.logaddexp(found, confused[:, None]) - found)
    return loss, regulariser


@typed
def multiscale_losses(
    whole: Float[Array, "2 b k"],
    five: Float[Array, "2 b 5 5 k"],
    seven: Float[Array, "2 b 7 7 k"],
    places: Int[Array, "2 b"],
    *,
    clip: float | int = 20.0,
) -> dict[str, jax.Array]:
    """AMDIM's terms, whose sum is its loss: "one_to_five" and "one_to_seven", the whole
    image against its parts, "five_to_five", a part against parts, and "regulariser".

    Each is the mean over both directions, view 1 to view 2 and back; the regulariser is
    half the sum of the six of them, as published.

    Args:
      whole, five, seven: features of both views, of all of the image and of 5x5 and 7x7
        parts.
      places: of each image and view the part, row by row, that is the source of
        "five_to_five"; drawn for the two views on their own.
    """
    of_view = [(whole[view], _part(five[view], places[view])) for view in (0, 1)]
    parts = {"five": five.reshape(*five.shape[:2], 25, -1), "seven": seven}
    parts["seven"] = seven.reshape(*seven.shape[:2], 49, -1)
    losses: dict[str, jax.Array] = {}
    squares = []
    for name, source, target in (
        ("one_to_five", 0, "five"),
        ("one_to_seven", 0, "seven"),
        ("five_to_five", 1, "five"),
    ):
        both = [
            contrastive_estimation(of_view[view][source], parts[target][1 - view], clip=clip)
            for view in (0, 1)
        ]
        losses[name] = 0.5 * (both[0][0] + both[1][0])
        squares += [regulariser for _, regulariser in both]
    losses["regulariser"] = 0.5 * jnp.sum(jnp.stack(squares))
    return losses


def _part(five: Array, places: Array) -> jax.Array:
    """[b, k], of each image the feature at one of its positions."""
    flat = five.reshape(len(five), -1, five.shape[-1])
    return jnp.take_along_axis(flat, places[:, None, None], axis=1)[:, 0]
