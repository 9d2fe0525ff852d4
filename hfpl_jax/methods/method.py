"""What a weakly-supervised method is: a network's outputs for a batch, and named loss
terms with weights.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Apply = Callable[..., Any]
"""`apply(images, **arguments)`: the network's `__call__` with its variables and random
keys already in place.
"""


class Batch(NamedTuple):
    """One training batch on the device.

    images: float32 [b, h, w, 3], normalised, 0 in the padding.
    labels: float32 [b, c], 1 for each class in the image.
    """

    images: jax.Array
    labels: jax.Array


class Prediction(NamedTuple):
    """What a method makes of a batch.

    logits: [b, h, w, c], the CAM logits (foreground classes, before any ReLU) that an
    add-on may work on. losses: scalar loss terms by name, not yet weighted.
    "classification" is the term on `logits` that an add-on may replace.
    """

    logits: jax.Array
    losses: Mapping[str, jax.Array]


class Method(Protocol):
    """A method is one file with these members; it holds settings, never arrays."""

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each loss term in the total."""

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        """Runs the network on a training batch and computes the loss terms."""

    def cam_logits(self, output: Any) -> jax.Array:
        """The [b, h, w, c] maps of the network's output that become CAMs; its `logits`
        tell which classes there are.
        """


def total_loss(method: Method, prediction: Prediction) -> jax.Array:
    """sum_name weight_name * loss_name.

    Raises:
      ValueError: a term has no weight, or a weight has no term: either would cost
        nothing and teach nothing, without a word.
    """
    if prediction.losses.keys() != method.weights.keys():
        raise ValueError(
            f"{type(method).__name__}.predict gives the loss terms {sorted(prediction.losses)}, "
            f"but its weights are of {sorted(method.weights)}. Give every term its weight."
        )
    return jnp.asarray(sum(method.weights[name] * loss for name, loss in prediction.losses.items()))
