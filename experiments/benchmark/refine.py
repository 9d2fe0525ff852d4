"""Random walk: ours, and what one would run instead without PyTorch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.side import Side
from hfpl_jax.refine import random_walk as library

STEPS = 64


def _walk(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    height: int,
    width: int,
    channels: int,
    scores: int,
    **work,
) -> Side:
    features = jnp.asarray(inputs.walk_features(height, width, channels)[None])
    maps = jnp.asarray(inputs.score_maps(height, width, scores)[None])
    jitted = jax.jit(function)
    return Side(
        lambda: jax.block_until_ready(jitted(features, maps)),
        lambda walked: {"scores": np.asarray(walked[0])},
        images=1,
        **work,
    )


def random_walk(height: int, width: int, channels: int, scores: int) -> Side:
    """Ours. Counted are 3 operations a feature and pair, and 2 a score map and
    neighbour in each step, which reads the stencil once.
    """
    cells = height * width
    flops = cells * (34 * 3 * channels + STEPS * 69 * 2 * scores)
    return _walk(
        library.random_walk,
        height,
        width,
        channels,
        scores,
        flops=float(flops),
        bytes=4.0 * cells * 69 * STEPS,
    )


def dense_walk(**sizes: int) -> Side:
    """The dense matrix, squared six times, in JAX."""

    def function(features: jax.Array, maps: jax.Array) -> jax.Array:
        b, h, w, k = maps.shape
        affinities, n = library.stencil_affinities(features)[0], h * w
        row, column = (index.reshape(-1) for index in jnp.indices((h, w)))
        dense = jnp.eye(n)
        for values, (dy, dx) in zip(
            affinities.reshape(-1, n), library.half_plane_offsets(library.RADIUS), strict=True
        ):
            inside = (row + dy < h) & (column + dx >= 0) & (column + dx < w)
            source, other = jnp.arange(n), jnp.where(inside, jnp.arange(n) + dy * w + dx, 0)
            kept = jnp.where(inside, values, 0.0)
            dense = dense.at[source, other].add(kept).at[other, source].add(kept)
        transition = dense**8
        transition = transition / jnp.sum(transition, axis=0, keepdims=True)
        for _ in range(6):
            transition = jnp.matmul(transition, transition, precision="highest")
        return (
            jnp.matmul(maps.reshape(b, n, k).swapaxes(1, 2), transition, precision="highest")
            .swapaxes(1, 2)
            .reshape(b, h, w, k)
        )

    return _walk(function, **sizes)
