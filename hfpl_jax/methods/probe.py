"""A small head on the features of a frozen backbone, which are stored once: of some
hundred photographs a training takes a minute or two on two cores, with any backbone.

Augmentation is what can be done to stored features, mirror images and crops of them:
the head sees no other light and no other size than the backbone has seen.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax

from hfpl_jax.data.batches import TrainCrop
from hfpl_jax.data.example import Example
from hfpl_jax.data.feature_crop import FeatureCrop
from hfpl_jax.data.stored_features import StoredSplit
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.methods.method import Method
from hfpl_jax.models.frozen_features import FrozenFeatures, widths
from hfpl_jax.models.probe_network import DECODERS, ProbeNetwork
from hfpl_jax.setting import Rule, at_least, one_of, setting
from hfpl_jax.training.objective import Apply, Batch, Prediction

_MOST = 4

_few = Rule(
    f"a tuple of at most {_MOST} names, each there once",
    lambda names: len(names) <= _MOST and len(set(names)) == len(names),
    example=False,
)


@dataclasses.dataclass(frozen=True)
class Probe(Method):
    """A head on stored features of a frozen backbone."""

    path: ClassVar[str] = "method.probe"
    title: ClassVar[str] = "Probe"
    frozen: ClassVar[bool] = True
    stored_fields: ClassVar[tuple[str, ...]] = ("layers", "channels", "long_side")

    layers: tuple[str, ...] = setting(
        (),
        "features that are stored and fused; () for the last and one two thirds of the way",
        _few,
    )
    channels: int = setting(
        0, "to which each stored feature is projected at random; 0 for none", at_least(0)
    )
    long_side: int = setting(
        448, "pixels of the long side at which the frozen backbone sees them", at_least(32)
    )
    width: int = setting(256, "channels of the head", at_least(1))
    decoder: str = setting("1x1", "convolutions of the head: one or two", one_of(*DECODERS))
    upsample: int = setting(
        1, "how much finer the logits are than the finest feature", one_of(1, 2, 4)
    )

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> ProbeNetwork:
        """All of the backbone is frozen."""
        del frozen_batch_norm
        return ProbeNetwork(
            backbone,
            num_classes,
            self.kept(backbone),
            width=self.width,
            decoder=self.decoder,
            upsample=self.upsample,
            dropout=dropout,
        )

    def kept(self, backbone: nn.Module) -> FrozenFeatures:
        layers = self.layers or (backbone.middle_features[-1], backbone.head_feature)
        return FrozenFeatures(tuple(layers), self.channels, self.long_side)

    def check_backbone(self, backbone: nn.Module, name: str) -> None:
        strides, kept = backbone.strides, self.kept(backbone)
        for layer in kept.layers:
            if layer not in strides:
                raise InputError(
                    f"config.{self.path}.layers names {layer!r}, but {name} has "
                    f"{', '.join(strides)}{in_brackets(did_you_mean(layer, strides))}."
                )
        if self.channels:
            narrowest = min(kept.layers, key=lambda layer: widths(backbone)[layer])
            if self.channels > (width := widths(backbone)[narrowest]):
                raise InputError(
                    f"config.{self.path}.channels = {self.channels}, but {narrowest} of {name} has "
                    f"{width}. Set it to {width} at most, or to 0 for no projection."
                )
        own = [strides[layer] for layer in kept.layers]
        if any(max(own) % stride for stride in own):
            raise InputError(
                f"config.{self.path}.layers names features of the strides "
                f"{', '.join(map(str, own))}, which are no multiples of one another. Choose others."
            )
        if min(own) % self.upsample:
            raise InputError(
                f"config.{self.path}.upsample = {self.upsample} does not divide the stride of the "
                f"finest feature of {name}, {min(own)} pixels. Set it to a smaller one."
            )

    def elements(self, split: Sequence[Example], stored: StoredSplit | None = None) -> Sequence:
        assert stored is not None, "the pipeline stores features of a frozen backbone"
        return stored

    def transform(self, crop: TrainCrop) -> FeatureCrop:
        return FeatureCrop(crop.num_classes, crop.crop_size)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        logits = apply(batch.features, train=True, method="told").logits
        classification = self.classification(logits, batch.labels)
        return Prediction(logits, {"classification": classification}, {"classification": 1.0})
