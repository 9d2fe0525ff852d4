"""How well prototypes of a few examples tell classes: accuracy over random episodes.

An episode draws `ways` classes, and of each the examples that prototypes are made of
and other photographs that are asked about (Chen et al., "Self-Supervised Learning for
Few-Shot Image Classification", ICASSP 2021; here without training in episodes).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.losses.few_shot import mean_prototypes, prototype_logits
from hfpl_jax.runtime.progress import track
from hfpl_jax.shapes import Array, Float, Int, typed


class Accuracy(NamedTuple):
    """Mean over episodes, and half the width of its 95 % interval, 1.96 standard
    deviations / sqrt(episodes).
    """

    mean: float
    interval: float


def usable_classes(
    counts: dict[str, int], *, ways: int, shots: int, queries: int
) -> tuple[list[int], dict[str, int]]:
    """Places of the classes with enough photographs, and the others with their counts.

    Raises:
      InputError: fewer than `ways` classes have enough.
    """
    least = shots + queries
    usable = [place for place, count in enumerate(counts.values()) if count >= least]
    short = {name: count for name, count in counts.items() if count < least}
    if len(usable) < ways:
        shown = ", ".join(f"{name} {count}" for name, count in list(short.items())[:8])
        raise InputError(
            f"Episodes of {ways} classes need {least} photographs of each that show it alone "
            f"({shots} examples, {queries} to ask about), but {len(usable)} of {len(counts)} "
            f"classes have as many: too few are of {shown}. Give more photographs, or a smaller "
            "--ways or --queries."
        )
    return usable, short


@jax.jit
@typed
def _share_right(
    examples: Float[Array, "w s k"], queries: Float[Array, "w q k"]
) -> Float[jax.Array, ""]:
    """Of the queries, those whose own prototype is the nearest."""
    ways, shots, width = examples.shape
    prototypes = mean_prototypes(
        examples.reshape(-1, width), jnp.repeat(jnp.arange(ways), shots), ways
    )
    logits = prototype_logits(queries.reshape(-1, width), prototypes)
    own = jnp.repeat(jnp.arange(ways), queries.shape[1])
    return jnp.mean(jnp.argmax(logits, axis=1) == own)


@typed
def episode_accuracy(
    features: Float[np.ndarray, "n k"],
    classes: Int[np.ndarray, "n"],
    usable: Sequence[int],
    *,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
    seed: int,
) -> Accuracy:
    """Of episodes that are functions of the seed, their number and `shots` alone.

    Args:
      features: of photographs of one class each.
      classes: of each, a place.
      usable: the places that episodes are drawn from.
      ways: classes an episode.
      shots: examples of each.
      queries: photographs of each that are asked about.
    """
    places = {place: np.flatnonzero(classes == place) for place in usable}
    found = []
    for episode in track(range(episodes), f"{shots}-shot", episodes, unit="episodes"):
        rng = np.random.default_rng([seed, shots, episode])
        chosen = rng.choice(usable, ways, replace=False)
        drawn = np.stack(
            [rng.choice(places[place], shots + queries, replace=False) for place in chosen]
        )
        found.append(_share_right(features[drawn[:, :shots]], features[drawn[:, shots:]]))
    shares = np.asarray(jax.device_get(found), np.float64)
    spread = shares.std(ddof=1) if episodes > 1 else float("nan")
    return Accuracy(float(shares.mean()), float(1.96 * spread / np.sqrt(episodes)))
