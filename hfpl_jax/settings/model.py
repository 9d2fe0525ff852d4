"""The settings of dataset, network and method."""

import dataclasses
import pathlib
from typing import ClassVar

from hfpl_jax.data.prepare import BUILDERS
from hfpl_jax.errors import InputError
from hfpl_jax.methods import METHODS, method
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import Backbone, BackboneSettings
from hfpl_jax.models.suppression import LEARNABLE
from hfpl_jax.models.weights.hub import SCHEME
from hfpl_jax.models.weights.read import RANDOM, SUFFIXES
from hfpl_jax.precision import PRODUCTS
from hfpl_jax.section import Section
from hfpl_jax.setting import Rule, at_least, choice, from_to_below, one_of, setting, within


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


def _suppresses(text: str) -> bool:
    try:
        return text in ("", LEARNABLE) or (0 < float(text) <= 1 and text == f"{float(text):g}")
    except ValueError:
        return False


suppressions = Rule(
    f'"", "{LEARNABLE}" or a number above 0 and at most 1, such as "0.55"',
    _suppresses,
    example=False,
)


@dataclasses.dataclass(frozen=True)
class Model(Section):
    """The backbone of every network of a run."""

    path: ClassVar[str] = "model"

    own: BackboneSettings = dataclasses.field(kw_only=True)
    backbone: str = choice("resnet50", "what makes features of photographs", BACKBONES)
    weights: str = setting(
        "",
        "a .safetensors, .npz or .params file, hf://timm/NAME of the Hugging Face Hub, or "
        '"random", which freezes nothing; must be given',
    )
    frozen_batch_norm: bool = setting(
        True,
        "whether the classifier keeps the file's statistics, in place of the batch's; of no effect "
        "where its training starts from random weights",
    )
    dropout: float = setting(
        0.0, "of the channels the CAM head sees; 0.5 in SEAM", from_to_below(0, 1)
    )
    suppression: str = setting(
        "",
        "in place of the ReLUs behind the classifier's 3x3 convolutions, as in DRS: a number cuts "
        'each channel at that share of its maximum, "learnable" learns the share; "" for none',
        suppressions,
    )
    dtype: str = setting(
        "float32", "of the computation; bfloat16 on accelerators", one_of("float32", "bfloat16")
    )
    precision: str = setting(
        "default",
        "of float32 products in networks on accelerators: highest makes them as a CPU does, in "
        "several times the time; losses and refiners always do",
        one_of(*PRODUCTS),
    )

    def __post_init__(self):
        super().__post_init__()
        module = BACKBONES[self.backbone].module
        if self.suppression and not hasattr(module, "suppression"):
            raise InputError(
                f"config.model.suppression = {self.suppression!r}, but the backbone "
                f"{self.backbone} has no such attribute. Leave it empty, or give its module one."
            )
        if self.weights in ("", RANDOM):
            return
        of_hub = self.weights.startswith(SCHEME)
        if not of_hub and pathlib.Path(self.weights).suffix not in SUFFIXES:
            raise InputError(
                f"config.model.weights = {self.weights!r} must be a file of the kind "
                f"{', '.join(SUFFIXES)}, or 'random'. Save a PyTorch state dict with "
                "safetensors.torch.save_file."
            )
        for name, in_files in self.own.in_files.items():
            if (value := getattr(self.own, name)) != in_files:
                raise InputError(
                    f"config.{self.own.path}.{name} = {value}, but it is {in_files} in the "
                    f"networks of weight files. Set it to {in_files}, or config.model.weights to "
                    "'random'."
                )

    @property
    def network(self) -> Backbone:
        """The backbone itself."""
        return BACKBONES[self.backbone].network(self.own)

    @property
    def output_stride(self) -> int:
        """Pixels of a photograph between two cells of the network's maps."""
        return self.network.output_stride


@dataclasses.dataclass(frozen=True)
class Method(Section):
    """How CAMs are learnt."""

    path: ClassVar[str] = "method"

    own: method.Method = dataclasses.field(kw_only=True)
    name: str = choice("cam", "the method that the two losses are added to", METHODS)


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
