"""The backbones by name. A new one is a file beside this one and a line here."""

from collections.abc import Mapping

from hfpl_jax.models.backbones.backbone import Entry
from hfpl_jax.models.backbones.resnet import ResNet, ResNetSettings
from hfpl_jax.models.backbones.resnet38 import ResNet38, ResNet38Settings
from hfpl_jax.models.backbones.vgg16 import Vgg16, Vgg16Settings

BACKBONES: Mapping[str, Entry] = {
    "resnet18": Entry(ResNet, ResNetSettings, {"depth": 18}),
    "resnet34": Entry(ResNet, ResNetSettings, {"depth": 34}),
    "resnet50": Entry(ResNet, ResNetSettings, {"depth": 50}),
    "resnet101": Entry(ResNet, ResNetSettings, {"depth": 101}),
    "resnet38": Entry(ResNet38, ResNet38Settings),
    "vgg16": Entry(Vgg16, Vgg16Settings),
}
"""Of config.model.backbone."""
