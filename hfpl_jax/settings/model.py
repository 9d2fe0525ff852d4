"""The settings of dataset, network and method."""

import dataclasses
import pathlib
from typing import ClassVar

from hfpl_jax.build import METHODS, WIDE_DEPTH
from hfpl_jax.data.prepare import BUILDERS
from hfpl_jax.errors import InputError
from hfpl_jax.models.pretrained import RANDOM, SUFFIXES
from hfpl_jax.models.resnet import BLOCKS, DILATIONS, OUTPUT_STRIDES
from hfpl_jax.settings.setting import (
    Section,
    above_up_to,
    at_least,
    from_to_below,
    one_of,
    setting,
    within,
)

_PRETRAINED_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """Which photographs."""

    path: ClassVar[str] = "data"

    name: str = setting("scenes", "the kind of source", one_of(*BUILDERS))
    root: str = setting("", "where the photographs lie")
    directory: str = setting("", 'where the prepared dataset is kept; "" for WORKDIR/data')
    options: dict = setting({}, "of this kind of source: the recipes show them")  # noqa: RUF009
    on_bad_record: str = setting(
        "raise", '"skip" leaves it out and lists it in skipped.jsonl', one_of("raise", "skip")
    )
    train_split: str = setting("train", "trained on")
    label_split: str = setting("", 'given CAMs and pseudo-labels; "" for train_split')
    score_split: str = setting(
        "",
        'the part of label_split that is scored as "train" and chooses the threshold; "" for all',
    )
    val_split: str = setting("val", 'scored as "val"; "" for none')
    allow_overlap: bool = setting(
        False, "True: a photograph may be trained on and be in val as well"
    )
    mask_mismatches: float = setting(
        0.01, "share of a split's masks that may hold a class beyond the labels", within(0, 1)
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.train_split:
            raise InputError(
                "config.data.train_split is empty. Name the split to train on, such as 'train'."
            )


@dataclasses.dataclass(frozen=True)
class Model(Section):
    """The backbone of every network of a run."""

    path: ClassVar[str] = "model"

    depth: int = setting(
        50,
        "of the ResNet; 38 is the wide ResNet-38 of the published program",
        one_of(*sorted((*BLOCKS, WIDE_DEPTH))),
    )
    output_stride: int = setting(16, "8 alone for depth 38", one_of(*sorted(OUTPUT_STRIDES)))
    version: str = setting(
        "v1.5", "place of the stride; v1.5 is torchvision's", one_of("v1", "v1.5")
    )
    dilation: str = setting(
        "exact", "of the ResNet's stages that lost their stride, see ResNet", one_of(*DILATIONS)
    )
    width: int = setting(
        64, "channels of the stem; less for a small network from random weights", at_least(1)
    )
    weights: str = setting(
        "",
        'a .safetensors, .npz or .params file, or "random", which freezes nothing; must be given',
    )
    frozen_batch_norm: bool = setting(
        True, "statistics of the file, not of the batch; of no effect with random weights"
    )
    dropout: float = setting(
        0.0, "of the channels the CAM head sees; 0.5 in SEAM", from_to_below(0, 1)
    )
    dtype: str = setting(
        "float32", "of the computation; bfloat16 on accelerators", one_of("float32", "bfloat16")
    )

    def __post_init__(self):
        super().__post_init__()
        if self.depth == WIDE_DEPTH and self.output_stride != 8:
            raise InputError(
                f"config.model.output_stride = {self.output_stride}, but ResNet-38 has output "
                "stride 8 alone. Set it to 8."
            )
        if self.weights in ("", RANDOM):
            return
        if pathlib.Path(self.weights).suffix not in SUFFIXES:
            raise InputError(
                f"config.model.weights = {self.weights!r} must be a file of the kind "
                f"{', '.join(SUFFIXES)}, or 'random'. Save a PyTorch state dict with "
                "safetensors.torch.save_file."
            )
        if self.width != _PRETRAINED_WIDTH:
            raise InputError(
                f"config.model.width = {self.width}, but the networks of weight files are "
                f"{_PRETRAINED_WIDTH} wide. Set it to {_PRETRAINED_WIDTH}, or config.model.weights "
                "to 'random'."
            )


@dataclasses.dataclass(frozen=True)
class Method(Section):
    """How CAMs are learnt."""

    path: ClassVar[str] = "method"

    name: str = setting("cam", "the method that the two losses are added to", one_of(*METHODS))
    view_scale: float = setting(
        0.3, "of SEAM: the side of its second view over that of the crop", above_up_to(0, 1)
    )
    peak_floor: float = setting(
        1.0,
        "of SEAM: least height of a CAM, in logits, that its scores are divided by; 0 as published",
        at_least(0),
    )
    corrected_floor: float = setting(
        0.1, "of SEAM: the same for its corrected maps, from 0 to 1", at_least(0)
    )


@dataclasses.dataclass(frozen=True)
class Hfpl(Section):
    """The importance sampling loss (ISL) and the feature similarity loss (FSL)."""

    path: ClassVar[str] = "hfpl"

    isl_weight: float = setting(
        0.2, "lambda, the share of ISL in the classification; 0 for none", within(0, 1)
    )
    fsl_weight: float = setting(1.0, "of FSL; 0 for none", at_least(0))
    num_samples: int = setting(10, "draws of ISL for each image and class", at_least(1))
    mu: float = setting(
        2.5, "of FSL: where like colours become unlike; larger means earlier", within(-20, 20)
    )
    sigma: float = setting(
        2.5,
        "CAM pixels that FSL reaches: 5 at output stride 8, 2.5 at 16; 0 for no spatial weight",
        at_least(0),
    )
    window: int = setting(
        0, "CAM pixels beyond which FSL has no pairs; 0 for all pairs", at_least(0)
    )
    peak_floor: float = setting(
        1.0,
        "of FSL: least height of a CAM, in logits, that its scores are divided by; 0 as published",
        at_least(0),
    )
