"""PPC's terms of contrast, beside the published program's way of computing them written
in JAX, class by class, for where PyTorch is missing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.side import Side
from hfpl_jax.losses import pixel_classes, prototype_scores
from hfpl_jax.methods.ppc import contrast_losses
from hfpl_jax.resize import resize_bilinear


def _lowest_half(classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Of every class the half of its pixels with the lowest numbers, bool [n]."""
    drawn = np.zeros(classes.shape, bool)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        drawn[members[np.argsort(numbers[members])[: len(members) // 2]]] = True
    return drawn


def _given(scores: jax.Array, classes: jax.Array, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    """What is drawn by these numbers, [b, h, w], and the best pixels of each class, the
    first ones of the background, [m, s].
    """
    b, h, w, m = scores.shape
    drawn = _lowest_half(np.asarray(classes).reshape(-1), numbers.reshape(-1))
    best = np.argsort(-np.asarray(scores).reshape(-1, m), axis=0)[: h * w // 8].T
    best[0] = np.arange(h * w // 8)
    return drawn.reshape(b, h, w), best


def _side(terms: Callable, batch: int, compiled: bool, **sizes: int) -> Side:
    """`terms(features, corrected, labels, key, drawn=..., top_indices=...)`, maps at the
    second view's size. The numbers are those of what was drawn and of the pixels that
    prototypes are made of: no two programs draw the same.
    """
    features, corrected, labels, order = inputs.contrast_views(batch, **sizes)
    features, corrected, labels = jax.tree.map(jnp.asarray, (features, corrected, labels))
    size, key = corrected[1].shape[1:3], jax.random.key(0)

    def at_view2(maps):
        return tuple(resize_bilinear(each, size, align_corners=True) for each in maps)

    def total(features, corrected, labels, key, **given):
        losses = terms(at_view2(features), at_view2(corrected), labels, key, **given)
        return 0.1 * sum(losses.values()), losses

    function = jax.value_and_grad(total, has_aux=True)
    function = jax.jit(function) if compiled else function

    def numbers(_) -> dict[str, np.ndarray]:
        scores = [prototype_scores(maps) for maps in at_view2(corrected)]
        views = zip(scores, order, strict=True)
        given = [_given(each, pixel_classes(each, labels), numbers) for each, numbers in views]
        drawn, top_indices = zip(*given, strict=True)
        (_, losses), slopes = function(
            features, corrected, labels, key, drawn=drawn, top_indices=top_indices
        )
        gradients = {f"gradient {view}": slope for view, slope in enumerate(slopes, start=1)}
        return {name: np.asarray(array) for name, array in (losses | gradients).items()}

    def run():
        return jax.block_until_ready(function(features, corrected, labels, key))

    return Side(run, numbers, images=batch)


def contrast(batch: int, **sizes: int) -> Side:
    return _side(contrast_losses, batch, True, **sizes)


def contrast_by_class(batch: int, **sizes: int) -> Side:
    return _side(_by_class, batch, False, **sizes)


def _unit(vectors: jax.Array) -> jax.Array:
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _by_class(features, corrected, labels, key, drawn=None, top_indices=None):
    """Not compiled: how many pixels a class has decides the shapes."""
    scores = [prototype_scores(maps) for maps in corrected]
    classes = [np.asarray(pixel_classes(each, labels)).reshape(-1) for each in scores]
    numbers = np.random.default_rng().random((2, len(classes[0])))
    if drawn is None:
        drawn = [_lowest_half(*each) for each in zip(classes, numbers, strict=True)]
        top_indices = [_given(*each)[1] for each in zip(scores, classes, numbers, strict=True)]
    flat = [each.reshape(-1, each.shape[-1]) for each in features]
    unit = [_unit(each) for each in flat]
    prototypes = []
    for maps, score, top in zip(flat, scores, top_indices, strict=True):
        made = []
        for label, pixels in enumerate(top):
            weights = score.reshape(len(maps), -1)[pixels, label]
            direction = weights @ jax.lax.stop_gradient(maps)[pixels] / weights.sum()
            made.append(_unit(direction))
        prototypes.append(jnp.stack(made))

    def similarities(view, of):
        return unit[view] @ prototypes[of].T / 0.1

    def across(view, of, seen):
        table = similarities(view, of)
        own = table[np.arange(len(table)), classes[seen]]
        return jnp.mean(jnp.log(jnp.sum(jnp.exp(table), axis=1)) - own)

    def within(view):
        table, total = similarities(view, view), 0.0
        for label in np.unique(classes[view]):
            members = np.flatnonzero(classes[view] == label)
            half, end = len(members) // 2, int(0.6 * len(members))
            if not half:
                continue
            order = np.argsort(np.asarray(jax.lax.stop_gradient(table))[members, label])
            hard = members[order[:end][end - half :]]
            picked = np.concatenate([members[np.asarray(drawn[view]).reshape(-1)[members]], hard])
            rows = table[picked]
            ranked = jnp.sort(rows, axis=1)[:, ::-1][:, 3:13]
            own = rows[:, label]
            total += jnp.mean(jnp.log(jnp.exp(own) + jnp.sum(jnp.exp(ranked), axis=1)) - own)
        return total / len(np.unique(classes[view]))

    return {
        "cross_prototype": (across(0, 1, 0) + across(1, 0, 1)) / 2,
        "cross_cam": (across(0, 0, 1) + across(1, 1, 0)) / 2,
        "intra_view": (within(0) + within(1)) / 2,
    }
