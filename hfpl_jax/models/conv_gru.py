"""A gated recurrent unit whose products are 1x1 convolutions: each pixel's state takes
up what it is told.

Source: Ballas, Yao, Pal, Courville, "Delving Deeper into Convolutional Networks for
Learning Video Representations", ICLR 2016; models/ConvGRU.py of Group-WSSS.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from hfpl_jax.shapes import Array, Float, typed

SHUT = -2.0
"""The bias that the update starts with: a state stays most of what it is until messages
have come to mean something. From 0, half of it is lost in each round, and a short
training may never bring it back.
"""


class ConvGru(nn.Module):
    """
    u, r = sigmoid of update and reset on [message, state]
    c = tanh of candidate on [message, r * state]
    new = (1 - u) * state + u * c

    all three 1x1 with bias; that of update starts at `SHUT`, the others at 0.
    """

    kernel_init: Initializer

    @nn.compact
    @typed
    def __call__(
        self, message: Float[Array, "*b k"], state: Float[Array, "*b k"]
    ) -> Float[Array, "*b k"]:
        def of(name, *parts, bias=0.0):
            product = nn.Dense(
                state.shape[-1],
                kernel_init=self.kernel_init,
                bias_init=nn.initializers.constant(bias),
                precision="highest",
                name=name,
            )
            return product(jnp.concatenate(parts, axis=-1))

        update = nn.sigmoid(of("update", message, state, bias=SHUT))
        reset = nn.sigmoid(of("reset", message, state))
        candidate = jnp.tanh(of("candidate", message, reset * state))
        return (1.0 - update) * state + update * candidate
