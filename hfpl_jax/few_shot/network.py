"""What photographs are looked at with: the backbone of a finished run, or of a weight
file.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from hfpl_jax.build import backbone_shapes, random_backbone
from hfpl_jax.data.photograph_files import Found, Listing, PhotographFiles, look_at
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.inference.pooled_features import pooled_features
from hfpl_jax.load_network import load_trained_backbone
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.weights.read import RANDOM
from hfpl_jax.precision import PRODUCTS, with_products
from hfpl_jax.section import own_fields

LONG_SIDE = 224
"""Pixels at which the backbone of a weight file sees photographs, if nobody says."""

_SHAPES = 4
_TYPES: dict[Any, Any] = {int: int, float: float, str: str}


@dataclasses.dataclass(frozen=True)
class Looks:
    """A backbone and how it looks at photographs.

    Attributes:
      said: what it is, for people.
      variables: of the backbone.
      long_side: in pixels; 0 for the photographs' own size.
      batch_size: photographs.
      precision: of products, as `precision.of_products` takes it.
    """

    said: str
    backbone: nn.Module
    variables: dict
    long_side: int
    batch_size: int
    precision: str = PRODUCTS[0]

    def features(self, listing: Listing) -> np.ndarray:
        """float32 [n, k], the pooled feature of every photograph of a listing.

        Raises:
          InputError: a file that cannot be read.
        """
        found: list[Found] = []
        for each in look_at(listing):
            if each.reason:
                raise InputError(f"{each.reason} Or take the file out of the folder or the list.")
            found.append(each)
        devices = jax.local_device_count()
        seen = with_products(pooled_features, self.precision)
        return seen(
            self.backbone,
            self.variables,
            PhotographFiles(listing.root, found, {}),
            sizes=[(each.height, each.width) for each in found],
            long_side=self.long_side,
            batch_size=-(-self.batch_size // devices) * devices,
            padded_shapes=_SHAPES,
        )


def of_run(run: str, *, long_side: int | None, batch_size: int) -> Looks:
    """The backbone of a run's classifier, or of its pretraining; raises what
    `load_trained_backbone` does.
    """
    folder, model, backbone, variables = load_trained_backbone(run)
    side = model.long_side if long_side is None else long_side
    said = f"the {model.network} network in {folder}"
    return Looks(said, backbone, variables, side, batch_size, model.precision)


def of_file(
    path: str, name: str, given: Sequence[str], *, long_side: int | None, batch_size: int
) -> Looks:
    """The backbone of a weight file, or of random numbers.

    Args:
      name: in `BACKBONES`.
      given: its settings, each "NAME=VALUE".

    Raises:
      InputError: no such backbone or setting; a file that cannot be read or does not fit.
    """
    if name not in BACKBONES:
        hint = in_brackets(did_you_mean(name, BACKBONES))
        raise InputError(f"--backbone={name} must be one of {', '.join(BACKBONES)}{hint}.")
    entry = BACKBONES[name]
    known = {field.name: field for field in own_fields(entry.settings)}
    values = {field: known[field].default for field in known}
    for text in given:
        field, _, value = text.partition("=")
        if field not in known:
            hint = in_brackets(did_you_mean(field, known))
            raise InputError(
                f"--setting={text} names no setting of {name}{hint}: it has {', '.join(known)}. "
                "Write NAME=VALUE, such as version=v1."
            )
        try:
            values[field] = _TYPES[known[field].type](value)
        except ValueError as error:
            raise InputError(
                f"--setting={text} needs a number, such as {field}={known[field].default}."
            ) from error
    backbone = entry.network(entry.settings.of(values))
    if path == RANDOM:
        said, variables = f"{name} of random numbers", random_backbone(backbone)
    else:
        said, variables = path, load_backbone(path, backbone_shapes(backbone), backbone)
    side = LONG_SIDE if long_side is None else long_side
    return Looks(said, backbone, variables, side, batch_size)
