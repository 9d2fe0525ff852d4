"""Several networks as the modules of one parent, so that one state and one compiled step
hold all of them.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Float, Int


class SeveralNetworks(nn.Module):
    """Base of the parents. To call a parent is to look at images with what was trained,
    as with a single network.

    Attributes:
      members: names of the modules that are networks of the training's own kind: its
        settings hold for each of them.
    """

    members: ClassVar[tuple[str, ...]] = ()

    @property
    def backbone(self) -> nn.Module:
        """That of every member."""
        return getattr(self, self.members[0]).backbone

    def of(self, inputs: jax.Array, *, name: str, **arguments: Any) -> Any:
        """What the module of that name gives."""
        return getattr(self, name)(inputs, **arguments)

    def everything(self, images: jax.Array) -> None:
        """Calls all modules, so that all have parameters."""
        self(images)


class NetworkPair(SeveralNetworks):
    """Two final networks with parameters of their own."""

    members: ClassVar[tuple[str, ...]] = ("first", "second")

    first: nn.Module
    second: nn.Module

    def __call__(
        self, images: Float[Array, "b h w 3"], sizes: Int[Array, "b 2"] | None = None
    ) -> Float[jax.Array, "b _ _ c"]:
        """log(1/2 (p_1 + p_2)) of the two networks' probabilities: logits whose softmax is
        their mean.
        """
        both = [jax.nn.log_softmax(each(images, sizes)) for each in (self.first, self.second)]
        return jnp.logaddexp(*both) - jnp.log(2.0)
