"""Mean field of the dense CRF with exact kernels: attention with Gaussian weights over
(x, y, r, g, b), for accelerators.

The appearance kernel is streamed tile by tile, so no [n, n] array exists. The
smoothness kernel is a product of one Gaussian in y and one in x: two small matrix
products.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hfpl_jax.refine.crf_settings import LEAST_PROBABILITY, CrfSettings
from hfpl_jax.shapes import Array, Bool, Float, Int, UInt8, typed

QUERY_PIXELS = 2048
KEY_PIXELS = 8192
"""Largest tile of the appearance kernel, 64 MiB of weights for each image of the batch;
the second is a multiple of the first.
"""


def _axis_kernel(size: int, deviation: float) -> jax.Array:
    apart = jnp.arange(size, dtype=jnp.float32)[:, None] - jnp.arange(size, dtype=jnp.float32)
    return jnp.exp(-0.5 * jnp.square(apart / deviation))


def _smoothness(values: jax.Array, settings: CrfSettings) -> jax.Array:
    """sum_j exp(-|p_i - p_j|^2 / (2 sxy^2)) v_j over the positions p; [b, h, w, k]."""
    rows, columns = (_axis_kernel(size, settings.gaussian_sxy) for size in values.shape[1:3])
    blurred = jnp.einsum("hH,bHwk->bhwk", rows, values, precision="highest")
    return jnp.einsum("wW,bhWk->bhwk", columns, blurred, precision="highest")


def _features(images: Array, settings: CrfSettings) -> jax.Array:
    """[b, n, 5], centred: the squared distance is a difference of squared norms, which
    should be small.
    """
    b, h, w, _ = images.shape
    x = jnp.broadcast_to((jnp.arange(w) - (w - 1) / 2) / settings.bilateral_sxy, (b, h, w))
    y = jnp.broadcast_to(
        ((jnp.arange(h) - (h - 1) / 2) / settings.bilateral_sxy)[:, None], (b, h, w)
    )
    colour = (images.astype(jnp.float32) - 127.5) / settings.bilateral_srgb
    return jnp.concatenate(
        [jnp.stack([x, y], axis=-1).astype(jnp.float32), colour], axis=-1
    ).reshape(b, h * w, 5)


def _appearance(features: jax.Array, values: jax.Array) -> jax.Array:
    """sum_j exp(-1/2 |f_i - f_j|^2) v_j, with -1/2 |f_i - f_j|^2 = <f_i, f_j> - 1/2
    |f_i|^2 - 1/2 |f_j|^2; [b, n, k].
    """
    b, n, k = values.shape
    queries = min(QUERY_PIXELS, n)
    keys = min(KEY_PIXELS, -(-n // queries) * queries)
    padding = (
        (0, 0),
        (0, -n % keys),
        (0, 0),
    )  # a padded key has the value 0; a padded query is cut off
    features, values = jnp.pad(features, padding), jnp.pad(values, padding)
    halves = 0.5 * jnp.sum(jnp.square(features), axis=-1)
    padded = features.shape[1]

    def one_query_tile(start: jax.Array) -> jax.Array:
        query = jax.lax.dynamic_slice_in_dim(features, start, queries, axis=1)
        query_half = jax.lax.dynamic_slice_in_dim(halves, start, queries, axis=1)

        def add_key_tile(total: jax.Array, key_start: jax.Array) -> tuple[jax.Array, None]:
            key, key_half, value = (
                jax.lax.dynamic_slice_in_dim(a, key_start, keys, axis=1)
                for a in (features, halves, values)
            )
            product = jnp.einsum("bqf,bnf->bqn", query, key, precision="highest")
            weights = jnp.exp(
                jnp.minimum(product - query_half[:, :, None] - key_half[:, None, :], 0.0)
            )
            return total + jnp.einsum("bqn,bnk->bqk", weights, value, precision="highest"), None

        return jax.lax.scan(
            add_key_tile, jnp.zeros((b, queries, k), values.dtype), jnp.arange(0, padded, keys)
        )[0]

    tiles = jax.lax.map(one_query_tile, jnp.arange(0, padded, queries))
    return tiles.transpose(1, 0, 2, 3).reshape(b, padded, k)[:, :n]


def _listing(
    valid: jax.Array, pixels: int | None
) -> tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]:
    """Two functions: [b, h w, k] to the list of the first `pixels`, the valid ones in
    front, [b, pixels, k], and a list back to [b, h, w, k]. What is not in the list comes
    back as something finite.
    """
    b, h, w = valid.shape
    if pixels is None or pixels >= h * w:
        return lambda values: values, lambda values: values.reshape(b, h, w, -1)
    order = jnp.argsort(~valid.reshape(b, h * w), axis=1, stable=True)
    places = jnp.minimum(jnp.argsort(order, axis=1), pixels - 1)
    first = order[:, :pixels]
    return (
        lambda values: jnp.take_along_axis(values, first[..., None], axis=1),
        lambda values: jnp.take_along_axis(values, places[..., None], axis=1).reshape(b, h, w, -1),
    )


@typed
def exact_mean_field(
    images: UInt8[Array, "b h w 3"],
    probabilities: Float[Array, "b h w k"],
    valid: Bool[Array, "b h w"],
    *,
    settings: CrfSettings,
    labels: Int[Array, ""] | None = None,
    pixels: int | None = None,
) -> Float[jax.Array, "b h w k"]:
    """`dense_crf` with exact kernels for a batch of padded images; pure, to be jitted
    with static settings.

    Work is quadratic in the pixels and linear in the labels: n^2 exponentials for each
    iteration and one more for the normalisation.

    Args:
      images: colours 0 ... 255.
      probabilities: of each label, values are clipped to [1e-5, 1] and need not sum to
        1. They are not checked: see `dense_crf`.
      valid: false where an image is padded; such a pixel has no influence, whatever it
        holds, as long as it is finite.
      settings: see `CrfSettings`.
      labels: how many of the k there are; the others are padded and get 0. None for
        all.
      pixels: the most that are valid in an image, static: n of the work above. None for
        all h w.

    Returns:
      float32 marginals that sum to 1 over the labels; 0 where not valid.

    Source: Krähenbühl and Koltun, NIPS 2011, algorithm 1, without section 3.2's
    approximation.
    """
    b, h, w = valid.shape
    listed, spread = _listing(jnp.asarray(valid), pixels)
    features = listed(_features(images, settings))
    kernels = (
        (settings.gaussian_weight, lambda values: _smoothness(values, settings)),
        (
            settings.bilateral_weight,
            lambda values: spread(_appearance(features, listed(values.reshape(b, h * w, -1)))),
        ),
    )
    inside = valid[..., None].astype(jnp.float32)
    # k_ij / sqrt(s_i s_j): a pixel belongs to its own neighbourhood, so its sum is at
    # least 1 where valid.
    scales = [inside * jax.lax.rsqrt(jnp.maximum(kernel(inside), 1e-20)) for _, kernel in kernels]

    negative_unary = jnp.log(jnp.clip(probabilities.astype(jnp.float32), LEAST_PROBABILITY, 1.0))
    known = None if labels is None else jnp.arange(probabilities.shape[-1]) < labels

    def iterate(_, marginals: jax.Array) -> jax.Array:
        messages = (
            weight * scale * kernel(scale * marginals)
            for (weight, kernel), scale in zip(kernels, scales, strict=True)
        )
        return jax.nn.softmax(negative_unary + sum(messages), axis=-1, where=known)

    return inside * jax.lax.fori_loop(
        0,
        settings.iterations,
        iterate,
        jax.nn.softmax(negative_unary, axis=-1, where=known),
    )
