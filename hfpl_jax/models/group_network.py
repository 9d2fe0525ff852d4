"""The network of Group-WSSS: a classifier whose maps are the nodes of a graph, and what
becomes of the maps of a group once its members have told each other what they see.

Source: Li, Zhou, Li, Wang, "Group-Wise Semantic Mining for Weakly Supervised Semantic
Segmentation", AAAI 2021; models/vgg_gnn.py of its program.
"""

import itertools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.co_attention import CoAttention
from hfpl_jax.models.conv_gru import ConvGru
from hfpl_jax.models.convolution import BiasedConvolution, he_normal, inside
from hfpl_jax.models.drs_network import ConvolutionalHead
from hfpl_jax.models.graph_dropout import graph_dropout
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.shapes import Array, Bool, Float, Int, typed

ROUNDS = 3
"""How often the members of a group tell each other."""

normal = nn.initializers.normal(0.01)


class Seen(NamedTuple):
    """What the classifier makes of images for themselves: its `maps` [b, h, w, c], the
    rows and columns `extents` [b, 2] that each has of them, None where they are all; and
    the backbone's `features` by name.
    """

    maps: jax.Array
    extents: jax.Array | None
    features: dict[str, Array]


class GroupOutput(NamedTuple):
    """Maps [b, h, w, c], float32, one channel a foreground class: `before` the members of
    a group tell each other anything, and after that, `logits`. `features`: the
    backbone's, by name.
    """

    logits: jax.Array
    before: jax.Array
    features: dict[str, Array]


def neighbours_of(members: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Of each member `count` others in the order of their numbers, again from the first
    one where there are fewer. A member that is alone is its own neighbour.
    """
    others = ([each for each in range(members) if each != own] or [own] for own in range(members))
    return tuple(tuple(itertools.islice(itertools.cycle(each), count)) for each in others)


class GroupGraph(nn.Module):
    """`ROUNDS` times, all members at once: hear the others, fuse (3x3 with bias), take up
    (`ConvGru`), and in training `graph_dropout`. The weights are those of every round and
    member.

    Attributes:
      size: members of a group, K: a member hears K - 1 neighbours.
      channels: of a map.
      kernel_init: of all kernels; biases start at 0, but for that of `ConvGru`'s update.
    """

    size: int
    channels: int
    kernel_init: nn.initializers.Initializer = normal

    def setup(self):
        self.attention = CoAttention(self.kernel_init)
        self.fusion = BiasedConvolution(self.channels, 3, kernel_init=self.kernel_init)
        self.gru = ConvGru(self.kernel_init)

    def message(
        self,
        states: Float[Array, "g m h w c"],
        extents: Int[Array, "g m 2"] | None = None,
    ) -> Float[Array, "g m h w c"]:
        """What each member makes of what its neighbours tell."""
        g, m, h, w, c = states.shape
        valid = None if extents is None else _inside(extents, h, w)
        heard = self.attention(states, neighbours_of(m, self.size - 1), valid)
        flat = heard.reshape(g * m, h, w, heard.shape[-1])
        fused = self.fusion(flat, None if extents is None else extents.reshape(g * m, 2))
        return fused.reshape(g, m, h, w, c)

    @typed
    def __call__(
        self,
        maps: Float[Array, "g m h w c"],
        extents: Int[Array, "g m 2"] | None = None,
        draws: Float[Array, "r g m"] | None = None,
    ) -> Float[Array, "g m h w c"]:
        """Maps of the members m of groups g after all rounds.

        Args:
          extents: rows and columns that each map fills of its array, the rest being
            padding; None: all.
          draws: of `graph_dropout`, for each round, group and member; None: there is
            none.
        """
        states, (height, width) = maps, maps.shape[2:4]
        valid = None if extents is None else _inside(extents, height, width)
        for number in range(ROUNDS):
            states = self.gru(self.message(states, extents), states)
            if draws is not None:
                states = graph_dropout(states, draws[number], valid)
        return states


def _inside(extents: Array, height: int, width: int) -> Bool[Array, "g m h w"]:
    valid = inside(extents.reshape(-1, 2), height, width)
    return valid.reshape(*extents.shape[:2], height, width)


class GroupNetwork(nn.Module):
    """`before = head(features)`, `logits = graph(before)`.

    Attributes:
      backbone: a `Backbone`; `Vgg16()` is the published one.
      num_classes: foreground classes.
      size: photographs of a group, K.
      frozen_batch_norm: normalise by the stored statistics in training too.
      dropout: in training, the share of the backbone's channels that are zeroed.
    """

    backbone: nn.Module
    num_classes: int
    size: int = 3
    frozen_batch_norm: bool = True
    dropout: float = 0.0

    def setup(self):
        suppression = getattr(self.backbone, "suppression", "")
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(1, 2))
        self.head = ConvolutionalHead(self.num_classes, suppression, he_normal)
        self.graph = GroupGraph(self.size, self.num_classes)

    def seen(self, images: Array, sizes: Array | None = None, train: bool = False) -> Seen:
        """Each image for itself."""
        backbone = self.backbone
        features = backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        feature = features[backbone.head_feature]
        dropped = self.drop(feature.astype(jnp.float32), deterministic=not train)
        extents = None if sizes is None else extent(sizes, backbone.output_stride)
        return Seen(self.head(dropped.astype(feature.dtype), extents), extents, features)

    def told(self, maps: Array, extents: Array | None = None) -> Array:
        """The maps [g, m, h, w, c] of groups of any number of members up to K, without
        dropout.
        """
        return self.graph(maps, extents)

    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
        *,
        members: int = 1,
        draws: Float[Array, "r g m"] | None = None,
    ) -> GroupOutput:
        """Scores before any activation.

        Args:
          images, sizes, train: as those of `CamNetwork`. In training the graph has its
            dropout too.
          members: so many images in a row are a group; 1: each hears itself alone.
          draws: of the graph's dropout in training, in place of those from
            `rngs={"dropout": key}`.
        """
        before, extents, features = self.seen(images, sizes, train)
        groups = before.reshape(-1, members, *before.shape[1:])
        if extents is not None:
            extents = extents.reshape(-1, members, 2)
        if train and draws is None:
            draws = jax.random.uniform(self.make_rng("dropout"), (ROUNDS, *groups.shape[:2]))
        logits = self.graph(groups, extents, draws).reshape(before.shape)
        return GroupOutput(logits, before, features)
