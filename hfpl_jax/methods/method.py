"""What a weakly-supervised method is: a network around a backbone, named loss terms
with weights, and the way from its outputs to class activation maps.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from grain.transforms import RandomMap

from hfpl_jax.data.batches import TrainCrop
from hfpl_jax.data.example import Example
from hfpl_jax.losses import pooled_loss
from hfpl_jax.methods.merge import merge_cams
from hfpl_jax.methods.pooling import MEAN, POOLINGS
from hfpl_jax.models.frozen_features import FrozenFeatures
from hfpl_jax.section import Section
from hfpl_jax.setting import one_of, setting
from hfpl_jax.shapes import Array
from hfpl_jax.training.objective import Apply, Objective


class Maps(NamedTuple):
    """What a method makes of images of one scale.

    cams: [b, h, w, n], one channel a foreground class, then any that `Method.merge`
    reads besides. logits: [b, h, w, c], which pooled tell which classes there are.
    """

    cams: jax.Array
    logits: jax.Array


@dataclasses.dataclass(frozen=True)
class Method(Section, Objective):
    """Base of the methods. A method is one file with a frozen dataclass, whose fields
    are its settings, `config.method.<its name>`; its `path` says so. `network` and
    `predict` are its own; of what stands below them it changes what differs.

    Attributes:
      title: its name in the report.
      fuses_flips: whether `maps` is handed mirrored images too and makes one map of
        both; else the maps of both are added up.
      threshold: None where one is chosen on masks; else the background score of a
        method that knows its background: 0 where `merge` leaves 0 there, 1/2 where it
        gives how far each class is ahead of the background.
      frozen: whether its backbone does not learn, and the rest learns from features of
        photographs that the pipeline has stored before: see `kept`.
      stored_fields: those of its settings that decide what is stored then, all of them
        where it does not say; names may have wildcards.
    """

    title: ClassVar[str]
    fuses_flips: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None
    frozen: ClassVar[bool] = False
    stored_fields: ClassVar[tuple[str, ...]] = ("*",)

    pooling: str = setting(
        MEAN,
        "of CAM logits, to one a class: the mean of all pixels, or of the peaks, as in PRM",
        one_of(*POOLINGS),
    )

    def classification(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """The multi-label soft-margin loss of the pooled CAM logits [b, h, w, c]."""
        return pooled_loss(POOLINGS[self.pooling].learnt(logits), labels)

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> nn.Module:
        """A Linen module around a `Backbone`, its attribute `backbone`; called with
        images, `sizes` and `train`, as `models.cam_network.CamNetwork` is. Its maps
        have the backbone's output stride, or its own attribute `output_stride`; where
        the method is `frozen`, its method `told` is called with kept features by name
        in place of images.
        """
        raise NotImplementedError

    def check_crop(self, crop_size: int, output_stride: int) -> None:
        """Raises InputError where the method cannot learn from crops of this size, with
        a network of this output stride.
        """

    def check_backbone(self, backbone: nn.Module, name: str) -> None:
        """Raises InputError where the method cannot do with this backbone, which
        config.model.backbone calls `name`.
        """

    @property
    def rows(self) -> int:
        """Of a batch that one of `elements` becomes: photographs that are seen together.
        They lie together, on one device.
        """
        return 1

    @property
    def by_likeness(self) -> bool:
        """Whether it asks which photographs look alike. The pipeline then finds that out
        before, and `elements` takes `alike` as well: file name -> those of the split's
        photographs that look most like it, the nearest first.
        """
        return False

    def kept(self, backbone: nn.Module) -> FrozenFeatures:
        """Of a method that is `frozen`: which features of which photographs it learns
        from, as its `stored_fields` and the backbone alone decide. `elements` takes
        those of the split as `stored`, a `StoredSplit`, as well; `told` of its network
        takes them by name, float16 [b, h, w, k], with `sizes` and `train`.
        """
        raise NotImplementedError

    def elements(self, split: Sequence[Example]) -> Sequence[Any]:
        """What batches are drawn from, each element once an epoch."""
        return split

    def transform(self, crop: TrainCrop) -> RandomMap:
        """What makes rows of a batch of an element: arrays as `crop` makes them of an
        `Example`, with an axis of the rows in front where they are several.
        """
        return crop

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """The maps of normalised images of one scale, padded at the bottom and right.

        Args:
          sizes: [b, 2], height and width of each without its padding.
          mirrored: their mirror images, of the same sizes, where they are looked at and
            `fuses_flips`.
        """
        logits = apply(images, sizes=sizes).logits
        return Maps(logits, logits)

    def merge(
        self,
        maps: Sequence[Array],
        classes: np.ndarray,
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        output_stride: int,
    ) -> Array:
        """A photograph's maps [h, w, n], one a scale, become those of its `classes` at
        its size, [H, W, len(classes)] in [0, 1]; as `merge_cams`. A cell of a map is
        `output_stride` pixels wide in the scaled photograph.

        The maps are NumPy's; JAX's, under `vmap`, in a program that is exported. One
        that merges in NumPy alone (and not by `maps[0].__array_namespace__()`, as
        methods/merge.py does) cannot be exported.
        """
        return merge_cams([of_scale[..., classes] for of_scale in maps], scaled_sizes, size)
