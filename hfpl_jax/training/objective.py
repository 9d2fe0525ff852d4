"""What a network is trained for: named loss terms of a batch with their weights, and
what is carried from step to step besides the network.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Apply = Callable[..., Any]
"""`apply(images, **arguments)`: the network's `__call__` with its variables and random
keys already in place. Several networks are modules of one parent, whose arguments, or
`method="..."`, say which is called. `apply(images, params=...)` takes other parameters
than those that are trained, such as an average; `apply(images, detached=True)` takes
them as constants, whom no loss teaches. Both leave the running statistics as they are,
and so does `apply(images, statistics=False)`, for images that are no photographs.
"""


class Batch(NamedTuple):
    """One training batch on the device.

    images: float32 [b, h, w, 3], normalised, 0 in the padding.
    labels: float32 [b, c], 1 for each class in the image, or what else the source has,
      arrays by name among it; [b, 0] where it has none.
    valid: bool [b, h, w], False in the padding.
    progress: float32, the share of the training's steps that are done.
    carried: what the objective carries.
    beside: the batches of the training's other sources, by name.
    features: [b, _, _, _] of the same images, by name, where the source has them
    stored.
    """

    images: jax.Array
    labels: Any
    valid: jax.Array
    progress: jax.Array
    carried: Any = ()
    beside: Mapping[str, "Batch"] = {}
    features: Mapping[str, jax.Array] = {}


class Prediction(NamedTuple):
    """What an objective makes of a batch.

    logits: [b, h, w, c], the CAM logits (foreground classes, before any ReLU) that an
    add-on may work on. losses: scalar loss terms by name, not yet weighted.
    "classification" is the term on `logits` that an add-on may replace. weights: that
    of each term in the total; one may follow the batch's progress. kept: what
    `next_carried` reads besides.
    """

    logits: jax.Array
    losses: Mapping[str, jax.Array]
    weights: Mapping[str, float | jax.Array]
    kept: Any = ()


class Objective:
    """Base of what can be trained; it holds settings, never arrays.

    What it carries (an average of parameters, a pool of earlier outputs) is part of the
    training's state: saved, resumed and divided among devices as the parameters are,
    and left as it is by a step that is skipped.
    """

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        """Runs the network on a training batch and computes the loss terms."""
        raise NotImplementedError

    def optimizer(
        self, one: optax.GradientTransformation, steps: int
    ) -> optax.GradientTransformation:
        """What makes steps of gradients: `one`, that of the training's settings. Of several
        networks each may have its own, see `training.optimizer.by_module`.
        """
        return one

    def first_carried(self, params: Mapping) -> Any:
        """Arrays in dictionaries or tuples, from the parameters of the start."""
        return ()

    def next_carried(
        self, carried: Any, params: Mapping, prediction: Prediction, progress: jax.Array
    ) -> Any:
        """What is carried after a step.

        Args:
          carried: before it.
          params: of the network after it.
          prediction: what `predict` made of its batch.
          progress: the batch's.
        """
        return carried


def total_loss(prediction: Prediction) -> jax.Array:
    """sum_name weight_name * loss_name.

    Raises:
      ValueError: a term has no weight, or a weight has no term: either would cost
        nothing and teach nothing, without a word.
    """
    losses, weights = prediction.losses, prediction.weights
    if losses.keys() != weights.keys():
        raise ValueError(
            f"A prediction has the loss terms {sorted(losses)}, but the weights of "
            f"{sorted(weights)}. Give every term its weight."
        )
    return jnp.asarray(sum(weights[name] * loss for name, loss in losses.items()))
