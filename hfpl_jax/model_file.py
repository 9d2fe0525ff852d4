"""model.json, beside the checkpoint of a finished training: all that it takes to look at
new photographs with the network, where configuration, dataset and weight file are gone.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import hfpl_jax
from hfpl_jax.errors import InputError
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.precision import PRODUCTS
from hfpl_jax.runtime import atomic

FILE = "model.json"
FORMAT = 1
"""One more where a file of before would be read wrongly, or not at all."""

CAM, SEGMENTATION, PRETRAINING = "cam", "segmentation", "pretraining"
"""The kinds of network: a method's classifier, a final network, a backbone that was
pretrained without labels.
"""

_NORMALISATION = {
    "mean": [round(float(value), 6) for value in IMAGENET_MEAN],
    "std": [round(float(value), 6) for value in IMAGENET_STD],
}


@dataclasses.dataclass(frozen=True)
class Model:
    """What the file says.

    Attributes:
      network: CAM, SEGMENTATION or PRETRAINING.
      class_names: the foreground classes, in the order of the channels; none of a
        pretraining.
      backbone: its "name", "settings" and "dtype", and its "suppression" if it has one.
      head: "name" and "settings" of the method, of the segmentation head, or of what a
        pretraining learns by.
      output_stride: of the network.
      scales, long_side, flip, batch_size, padded_shapes: how the run looks at
        photographs; long_side is 0 for their own size.
      crf: the fields of the run's section of the dense CRF; None where it has none.
      threshold: of CAMs, the background score; None until it is chosen.
      threshold_rule: how it was found.
      image_labels: of whose classes the CAMs were that it was chosen on.
      class_cut: of CAMs, the pooled probability above which a class is taken to be on
        a photograph without labels; None until it is chosen.
      class_cut_f1: of the photographs it was chosen on.
      instances: of CAMs, `peak_threshold` and `peak_share` of the run's instances; None
        where it looks for none.
      objective: of a final network, what it was trained for: the name says whether it
        is one network or several.
      precision: of float32 products in the network, as `precision.of_products` takes it.
    """

    network: str
    class_names: tuple[str, ...]
    backbone: Mapping[str, Any]
    head: Mapping[str, Any]
    output_stride: int
    scales: tuple[float, ...]
    long_side: int
    flip: bool
    batch_size: int
    padded_shapes: int
    crf: Mapping[str, Any] | None = None
    threshold: float | None = None
    threshold_rule: str = ""
    image_labels: str = ""
    class_cut: float | None = None
    class_cut_f1: float | None = None
    instances: Mapping[str, float] | None = None
    objective: str = "supervised"
    precision: str = PRODUCTS[0]

    def __post_init__(self):
        named = [self.backbone["name"], self.backbone["dtype"], self.head["name"]]
        named.append(self.backbone.get("suppression", ""))
        named.append(self.objective)
        texts = [*self.class_names, *named, self.threshold_rule, self.image_labels]
        counts = [self.output_stride, self.batch_size, self.padded_shapes]
        shares = [self.threshold, self.class_cut, self.class_cut_f1]
        sound = (
            self.network in (CAM, SEGMENTATION, PRETRAINING)
            and bool(self.class_names) == (self.network != PRETRAINING)
            and all(isinstance(text, str) for text in texts)
            and self.backbone["dtype"] in ("float32", "bfloat16")
            and self.precision in PRODUCTS
            and isinstance(self.backbone["settings"], dict)
            and isinstance(self.head["settings"], dict)
            and all(_whole(count, 1) for count in counts)
            and _whole(self.long_side, 0)
            and isinstance(self.flip, bool)
            and bool(self.scales)
            and all(isinstance(scale, float) and 0 < scale < math.inf for scale in self.scales)
            and (self.crf is None or isinstance(self.crf, dict))
            and all(share is None or 0 <= share <= 1 for share in shares)
            and (self.instances is None or _are_peaks(self.instances))
        )
        if not sound:
            raise ValueError("a field holds no such value as it should")

    def multi_scale(self, batch_size: int) -> MultiScale:
        return MultiScale(self.scales, self.long_side or None, self.flip, batch_size)


def _are_peaks(instances: object) -> bool:
    names = {"peak_threshold", "peak_share"}
    return (
        isinstance(instances, dict)
        and instances.keys() == names
        and all(isinstance(value, float) and 0 <= value < math.inf for value in instances.values())
    )


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def write_model(folder: pathlib.Path, model: Model) -> None:
    """Into the folder of a training, whole or not at all; nothing where the file says
    so already.
    """
    if _content(folder / FILE) != (content := json.loads(json.dumps(_described(model)))):
        atomic.atomic_write(folder / FILE, json.dumps(content, indent=2) + "\n")


def same_network(folder: pathlib.Path, model: Model) -> bool:
    """Whether the file is there and of this network, however it looks at
    photographs.
    """
    content, fields = _content(folder / FILE), _described(model)
    names = ("format", "network", "class_names", "backbone", "head", "objective")
    names += ("normalisation",)
    wanted = json.loads(json.dumps({name: fields[name] for name in names}))
    return {name: content.get(name) for name in names} == wanted


def read_model(folder: str | os.PathLike) -> Model:
    """Of the folder of a finished training.

    Raises:
      InputError: the file is missing, damaged, or of another version of the library.
    """
    path = pathlib.Path(folder) / FILE
    again = "Give the command of the run again: it makes the file anew and trains nothing."
    if not path.exists():
        raise InputError(f"There is no {path}, which says what the network is. {again}")
    content = _content(path)
    if not content:
        raise InputError(f"{path} is damaged: it is no JSON object. {again}")
    if not _whole(content.get("format"), 1) or content["format"] != FORMAT:
        by = content.get("made_by") or "another version"
        raise InputError(
            f"{path} has the format {content.get('format')!r:.40} of hfpl_jax {by!s:.40}, and "
            f"this one, {hfpl_jax.__version__}, reads format {FORMAT}. Use that version, or give "
            "the command of the run again with this one."
        )
    try:
        if content["normalisation"] != _NORMALISATION:
            raise ValueError("it normalises colours in another way than this version")
        # Files of before do not have these
        before = {"instances": None, "objective": "supervised", "precision": PRODUCTS[0]}
        content = {**before, **content}
        fields = {field.name: content[field.name] for field in dataclasses.fields(Model)}
        for name in ("class_names", "scales"):
            if not isinstance(fields[name], list):
                raise ValueError(f"{name} is no list")
            fields[name] = tuple(fields[name])
        return Model(**fields)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is damaged ({reason:.200}). {again}") from error


def _described(model: Model) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_by": hfpl_jax.__version__,
        **dataclasses.asdict(model),
        "normalisation": _NORMALISATION,
    }


def _content(path: pathlib.Path) -> dict:
    """Of a file; {} where there is none, or a damaged one."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
