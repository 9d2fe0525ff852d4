"""What a backbone is: photographs in, named features out; and a line of the table."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import jax.numpy as jnp
from jax.typing import DTypeLike

from hfpl_jax.models.weights.names import Names
from hfpl_jax.section import Section
from hfpl_jax.shapes import Array, Float, Int


class Backbone(Protocol):
    """A Linen module. In a padded batch each image's features are those of the image
    without its padding, at the `ceil(size / stride)` positions that it has.

    Attributes:
      output_stride: pixels of the image between two positions of the last feature.
      strides: the same of every feature, by name, from the image on.
      head_feature: the name of the last, which a classification head reads.
      middle_features: the names of two before it, which SEAM and AffinityNet read as
        well.
      stages: patterns of the names of its modules, a pattern a stage, from the image
        on: a training can leave the first ones as they are in the weight file.
      weight_names: the tables of names, one for each kind of weight file.
    """

    output_stride: Any
    strides: Any
    head_feature: ClassVar[str]
    middle_features: Any
    stages: Any
    weight_names: ClassVar[tuple[Names, ...]]

    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        use_running_average: bool = True,
        deterministic: bool = True,
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        """Features, channels last, of normalised images of these `sizes` (rows,
        columns; None: they fill their array); by stored statistics of batch
        normalisation or those of the batch; with dropout unless `deterministic`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class BackboneSettings(Section):
    """The settings of a family of backbones; their names are attributes of its module.

    Attributes:
      in_files: the values that networks of weight files have, of fields whose other
        values are for random weights alone.
    """

    in_files: ClassVar[Mapping[str, Any]] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a name of config.model.backbone stands for.

    Attributes:
      module: of the features; it has the attribute `dtype`, `batch_norm_momentum` if it
        normalises batches, and `suppression` if something may take the place of its
        ReLUs, see `models.suppression.rectified`.
      settings: of its family.
      options: attributes of the module that the name decides.
    """

    module: type
    settings: type[BackboneSettings]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def network(
        self,
        own: BackboneSettings,
        *,
        dtype: DTypeLike = jnp.float32,
        batch_norm_momentum: float | None = None,
        suppression: str = "",
    ) -> Backbone:
        """The module with these settings."""
        options: dict[str, Any] = {**self.options, **vars(own), "dtype": dtype}
        attributes = {field.name for field in dataclasses.fields(self.module)}
        if batch_norm_momentum is not None and "batch_norm_momentum" in attributes:
            options["batch_norm_momentum"] = batch_norm_momentum
        if suppression:
            options["suppression"] = suppression
        return self.module(**options)
