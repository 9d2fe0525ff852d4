"""The two losses of HFPL: ours, and the published program's way of computing them
written in JAX, for where PyTorch is missing.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.side import Side
from hfpl_jax.losses import feature_similarity_loss, sample_pixels, sampled_loss, sampling_weights

MU, SIGMA, EPSILON = 2.5, 5.0, 1e-5


def pairwise_feature_similarity(
    images: jax.Array, scores: jax.Array, *, mu: float = MU, sigma: float = SIGMA
) -> jax.Array:
    """The loss over all pairs with arrays of [b, n, n] and [b, n, n, k], tanh, log, and
    no gradient of its own.
    """
    b, h, w, k = scores.shape
    x, y = images.reshape(b, h * w, -1), scores.reshape(b, h * w, k)
    distance = jnp.clip(jnp.mean(jnp.abs(x[:, :, None] - x[:, None]), axis=-1), 0.0, 1.0)
    gate = jnp.tanh(mu + jnp.log((distance + EPSILON) / (1.0 - distance + EPSILON)))
    place = jnp.stack(jnp.indices((h, w)), axis=-1).reshape(h * w, 2).astype(jnp.float32)
    apart = jnp.sum(jnp.square(place[:, None] - place[None]), axis=-1)
    near = jnp.exp(-apart / (2.0 * sigma**2)) / (2.0 * jnp.pi * sigma**2)
    return -jnp.sum(
        near * gate * 0.5 * jnp.sum(jnp.square(y[:, :, None] - y[:, None]), axis=-1)
    ) / (b * h * w)


def _similarity(
    loss: Callable[..., jax.Array], batch: int, height: int, width: int, channels: int, work: dict
) -> Side:
    images, scores = map(jnp.asarray, inputs.colours_and_scores(batch, height, width, channels))
    function = jax.jit(jax.value_and_grad(lambda scores, images: loss(images, scores)))

    def numbers(output: tuple[jax.Array, jax.Array]) -> dict[str, np.ndarray]:
        return {"loss": np.asarray(output[0]), "gradient": np.asarray(output[1])}

    return Side(
        lambda: jax.block_until_ready(function(scores, images)), numbers, images=batch, **work
    )


def feature_similarity(batch: int, height: int, width: int, channels: int, window: int) -> Side:
    """Ours; a window of 0 means all pairs. Counted are, for each pair, 22 operations
    for its weight and 2 a channel, and no traffic: it stays in caches.
    """
    rows = min(height, 2 * window + 1) if window else height
    pairs = batch * height * width * rows * width
    loss = functools.partial(feature_similarity_loss, mu=MU, sigma=SIGMA, window=window or None)
    return _similarity(
        loss, batch, height, width, channels, {"flops": float(pairs * (22 + 2 * (channels + 1)))}
    )


def pairwise_similarity(batch: int, height: int, width: int, channels: int, window: int) -> Side:
    del window  # all pairs
    return _similarity(pairwise_feature_similarity, batch, height, width, channels, {})


def _sampling(
    draw: Callable[[jax.Array, jax.Array], jax.Array],
    batch: int,
    height: int,
    width: int,
    classes: int,
) -> Side:
    """The numbers are those of given pixels, and the distribution the pixels are drawn
    from: no two programs draw the same.
    """
    logits, labels, pixels = map(
        jnp.asarray, inputs.logits_and_labels(batch, height, width, classes)
    )
    given = jax.jit(jax.value_and_grad(sampled_loss))
    drawn = jax.jit(
        jax.value_and_grad(
            lambda logits, labels, key: sampled_loss(logits, labels, draw(key, logits))
        )
    )
    key = jax.random.key(0)

    def numbers(_) -> dict[str, np.ndarray]:
        loss, gradient = given(logits, labels, pixels)
        weights = sampling_weights(logits)
        share = weights / jnp.sum(weights, axis=-1, keepdims=True)
        return {
            "loss": np.asarray(loss),
            "gradient": np.asarray(gradient),
            "distribution": np.asarray(share),
        }

    return Side(
        lambda: jax.block_until_ready(drawn(logits, labels, key)),
        numbers,
        bytes=2.0 * logits.nbytes,  # they are read, and their gradient is written
        images=batch,
    )


def importance_sampling(**sizes: int) -> Side:
    return _sampling(lambda key, logits: sample_pixels(key, logits, num_samples=10), **sizes)


def categorical_sampling(**sizes: int) -> Side:
    """A random number for each pixel of each draw, as a categorical distribution does
    it.
    """

    def draw(key: jax.Array, logits: jax.Array) -> jax.Array:
        weights = jnp.log(sampling_weights(logits))
        shape = (10, *weights.shape[:2])
        return jnp.moveaxis(
            jax.random.categorical(key, weights, axis=-1, shape=shape), 0, -1
        ).astype(jnp.int32)

    return _sampling(draw, **sizes)
