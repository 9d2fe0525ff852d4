"""Group-WSSS: the maps of photographs that share a class tell each other what they see.

Source: Li, Zhou, Li, Wang, "Group-Wise Semantic Mining for Weakly Supervised Semantic
Segmentation", AAAI 2021; train.py and models/vgg_gnn.py of its program.

There maps are written while it trains, of jittered photographs and drawn partners, the
maximum over the epochs, and the background is that of saliency maps. Here maps are made
after the training, as those of every method, and a threshold is chosen.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.data.batches import TrainCrop
from hfpl_jax.data.example import Example
from hfpl_jax.data.groups import Alike, ByLabels, GroupCrop, Groups
from hfpl_jax.data.index import entries_of
from hfpl_jax.losses import gap_loss
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.models.group_network import GroupNetwork, Seen
from hfpl_jax.models.padded_resize import mirror_padded, resize_padded
from hfpl_jax.setting import at_least, one_of, setting
from hfpl_jax.shapes import Array, Bool, Float, Int, Num, typed
from hfpl_jax.training.objective import Apply, Batch, Prediction

SBA = "sba"
"""Of `neighbours`: the partners look alike."""

_LOG = logging.getLogger(__name__)

WEIGHTS = MappingProxyType({"classification": 0.5, "classification_before": 0.2})
"""Of the terms: (0.4 before + after) / 2 of the means over a group's photographs."""


@typed
def group_losses(
    after: Float[Array, "b h w c"],
    before: Float[Array, "b h w c"],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    classification: Callable[..., jax.Array] = gap_loss,
) -> dict[str, jax.Array]:
    """The loss terms of Group-WSSS, scalars by name: the classification of the maps after
    the rounds of the graph and before them, each photograph by its own labels.
    """
    return {
        "classification": classification(after, labels),
        "classification_before": classification(before, labels),
    }


@dataclasses.dataclass(frozen=True)
class Group(Method):
    """Group-WSSS: groups of photographs that share a class, two loss terms.

    `logits` are those after the graph: both HFPL losses work on what pseudo-labels are
    made of for the most part, and the importance sampling loss takes its share of that
    term alone, whose weight stays what it is.
    """

    path: ClassVar[str] = "method.group"
    title: ClassVar[str] = "Group-WSSS"
    fuses_flips: ClassVar[bool] = True

    size: int = setting(3, "photographs of a group", at_least(2))
    neighbours: str = setting(
        "random",
        "partners: any that share a class, or of these the ones that look alike (SBA)",
        one_of("random", SBA),
    )
    share: str = setting(
        "class",
        "what a photograph's partners share with it: a class, or all labels where there are such",
        one_of("class", "labels"),
    )

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> GroupNetwork:
        return GroupNetwork(
            backbone,
            num_classes,
            self.size,
            frozen_batch_norm=frozen_batch_norm,
            dropout=dropout,
        )

    @property
    def by_likeness(self) -> bool:
        return self.neighbours == SBA

    @property
    def rows(self) -> int:
        return self.size

    def elements(
        self, split: Sequence[Example], alike: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> Groups:
        """Each photograph leads a group once an epoch."""
        known = entries_of(split)
        candidates = ByLabels.of((each.labels for each in known), same_first=self.share == "labels")
        if candidates.alone:
            _LOG.info(
                "%d photographs share no class with another: their partners are other crops of "
                "themselves.",
                candidates.alone,
            )
        if not self.by_likeness:
            return Groups(split, self.size, candidates)
        names = [each.file_name for each in known]
        return Groups(split, self.size, Alike.of(names, alike, candidates))

    def transform(self, crop: TrainCrop) -> GroupCrop:
        return GroupCrop(crop)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        output = apply(batch.images, train=True, members=self.size)
        losses = group_losses(output.logits, output.before, batch.labels, self.classification)
        return Prediction(output.logits, losses, dict(WEIGHTS))

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """The positive part of the mean of the maps before and after the graph, in which a
        photograph's group is itself: its mirror image where there is one, and as many
        smaller ones, by two thirds each, as it lacks members. No dropout, other than in
        the published program.

        Of mirror images the mean is taken, mirrored back.
        """
        looks = [images] if mirrored is None else [images, mirrored]
        count = len(looks)
        # The looks at an image lie beside each other: a divided batch stays so.
        shown = jnp.stack(looks, axis=1).reshape(-1, *images.shape[1:])
        found = [apply(shown, sizes=jnp.repeat(sizes, count, axis=0), method="seen")]
        small: tuple[Array, Array] = images, sizes
        for _ in range(self.size - count):
            small = _smaller(*small)
            found.append(apply(small[0], sizes=small[1], method="seen"))
        members, extents = _together(found, count)
        logits = apply(members, extents=extents, method="told")

        def averaged(maps: jax.Array) -> jax.Array:
            plain, *others = (maps[:, view] for view in range(count))
            columns = extents[:, 0, 1]
            return sum((mirror_padded(other, columns) for other in others), plain) / count

        return Maps(averaged(nn.relu((members + logits) / 2)), averaged(logits))


def _two_thirds(sides):
    return (2 * sides + 1) // 3


def _smaller(images: Array, sizes: Array) -> tuple[Array, Array]:
    """Images of these `sizes` at two thirds of them, rounded."""
    height, width = map(_two_thirds, images.shape[1:3])
    target = _two_thirds(sizes)
    return resize_padded(images, (height, width), sizes, target, align_corners=False), target


def _together(
    found: Sequence[Seen], count: int
) -> tuple[Float[Array, "b m h w c"], Int[Array, "b m 2"]]:
    """The maps of all views of each image in arrays of one size, and their extents; of
    the first and largest there are `count` of each image.
    """
    height, width = found[0].maps.shape[1:3]
    maps, extents = [], []
    for number, seen in enumerate(found):
        assert seen.extents is not None  # it was given sizes
        views = count if number == 0 else 1
        rows, columns = height - seen.maps.shape[1], width - seen.maps.shape[2]
        padded = jnp.pad(seen.maps, ((0, 0), (0, rows), (0, columns), (0, 0)))
        maps.append(padded.reshape(-1, views, *padded.shape[1:]))
        extents.append(seen.extents.reshape(-1, views, 2))
    return jnp.concatenate(maps, axis=1), jnp.concatenate(extents, axis=1)
