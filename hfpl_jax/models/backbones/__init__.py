"""The backbones by name. A new one is a file beside this one and a line here."""

from collections.abc import Mapping
from typing import Any

from hfpl_jax.models.backbones.backbone import Entry
from hfpl_jax.models.backbones.resnet import ResNet, ResNetSettings
from hfpl_jax.models.backbones.resnet38 import ResNet38, ResNet38Settings
from hfpl_jax.models.backbones.vgg16 import Vgg16, Vgg16Settings
from hfpl_jax.models.backbones.vit import Vit, VitSettings

_SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"width": 192, "heads": 3},
    "small": {"width": 384, "heads": 6},
    "base": {"width": 768, "heads": 12},
}


def _vit(size: str, **options: Any) -> Entry:
    return Entry(Vit, VitSettings, {**_SIZES[size], **options})


_DINOV2 = {"patch": 14, "table": 37, "layer_scale": True}
_CLIP = {"statistics": "clip", "activation": "quick_gelu", "epsilon": 1e-5, "normalized": True}

BACKBONES: Mapping[str, Entry] = {
    "resnet18": Entry(ResNet, ResNetSettings, {"depth": 18}),
    "resnet34": Entry(ResNet, ResNetSettings, {"depth": 34}),
    "resnet50": Entry(ResNet, ResNetSettings, {"depth": 50}),
    "resnet101": Entry(ResNet, ResNetSettings, {"depth": 101}),
    "resnet38": Entry(ResNet38, ResNet38Settings),
    "vgg16": Entry(Vgg16, Vgg16Settings),
    **{f"vit_{size}16": _vit(size, statistics="half") for size in _SIZES},
    **{f"deit_{size}16": _vit(size) for size in _SIZES},
    **{f"deit_{size}16_distilled": _vit(size, distilled=True) for size in _SIZES},
    **{f"dino_{size}16": _vit(size) for size in ("small", "base")},
    **{f"dinov2_{size}14": _vit(size, **_DINOV2) for size in ("small", "base")},
    **{
        f"dinov2_{size}14_registers": _vit(size, **_DINOV2, registers=4)
        for size in ("small", "base")
    },
    "clip_base16": _vit("base", **_CLIP),
}
"""Of config.model.backbone."""
