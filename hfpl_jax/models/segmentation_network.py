"""The final networks: a backbone and the head of DeepLab v1 or v2, or of OCR
(models/ocr_head.py).

Source: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015 (v1, "large field of view"), and "DeepLab", TPAMI 2018 (v2,
atrous spatial pyramid pooling); the final stage of SEAM and HFPL is v1 on ResNet38.
"""

from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
import jax.numpy as jnp

from hfpl_jax.errors import InputError
from hfpl_jax.models.convolution import ConvBatchNorm, mask_padding
from hfpl_jax.models.ocr_head import ObjectContextualHead, Scores
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.shapes import Array, Float, Int, typed

small_normal = nn.initializers.normal(
    0.01
)  # of the classifiers: all classes start as good as equally likely


class LargeFieldOfView(nn.Module):
    """DeepLab v1: 3x3 convolution of dilation 12 to 512, 1x1 convolution to 512, both
    with batch normalisation and ReLU, dropout of half the values, 1x1 classifier with
    bias."""

    num_classes: int
    momentum: float

    @nn.compact
    def __call__(self, x, sizes, use_running_average, deterministic):
        shared = {"momentum": self.momentum, "dtype": x.dtype}
        x, sizes = ConvBatchNorm(512, 3, dilation=12, **shared, name="fov")(
            x, sizes, use_running_average
        )
        x, _ = ConvBatchNorm(512, 1, **shared, name="fov2")(nn.relu(x), sizes, use_running_average)
        x = nn.Dropout(0.5, deterministic=deterministic)(nn.relu(x).astype(jnp.float32))
        return nn.Dense(self.num_classes, kernel_init=small_normal, name="classifier")(x)


class SpatialPyramid(nn.Module):
    """DeepLab v2: the sum of four 3x3 classifiers with bias, of dilation 6, 12, 18 and
    24.
    """

    num_classes: int
    momentum: float  # has no meaning here: there is no batch normalisation

    @nn.compact
    def __call__(self, x, sizes, use_running_average, deterministic):
        x = mask_padding(x, sizes)

        def classifier(dilation):
            dilated = {
                "padding": dilation,
                "kernel_dilation": dilation,
                "name": f"dilation{dilation}",
            }
            return nn.Conv(
                self.num_classes, (3, 3), **dilated, kernel_init=small_normal, dtype=x.dtype
            )

        return sum(classifier(dilation)(x).astype(jnp.float32) for dilation in (6, 12, 18, 24))


HEADS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {
        "deeplab_v1": LargeFieldOfView,
        "deeplab_v2": SpatialPyramid,
        "ocr": ObjectContextualHead,
    }
)
"""Of config.segmentation.head. A head gives logits, or `Scores`."""


class SegmentationNetwork(nn.Module):
    """Class scores of each position, the background first; trained on label maps.

    Attributes:
      backbone: a `Backbone`.
      num_classes: foreground classes c; there are c + 1 scores.
      head: a name in `HEADS`.
      frozen_batch_norm: normalise by the stored statistics in training too. False, as
        published: by the batch's.
      batch_norm_momentum: of the head: share of a batch in its running statistics.

    Raises:
      InputError: an unknown head.
    """

    backbone: nn.Module
    num_classes: int
    head: str = "deeplab_v1"
    frozen_batch_norm: bool = False
    batch_norm_momentum: float = 0.1

    def __post_init__(self):
        if self.head not in HEADS:
            raise InputError(
                f"There is no segmentation head {self.head!r}; choose one of {', '.join(HEADS)}."
            )
        super().__post_init__()

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
        auxiliary: bool = False,
    ) -> Float[Array, "b _ _ c"] | Scores:
        """Logits [b, h, w, c + 1], float32, at the backbone's resolution: the caller
        enlarges them.

        Args:
          images: RGB, normalised with the mean and standard deviation the weights were
            trained with.
          sizes: height and width of each image in a batch padded at the bottom and
            right. The first `ceil(size / output_stride)` rows and columns are then
            those of the image without its padding.
          train: dropout is active (`rngs={"dropout": key}`) and, with
            `frozen_batch_norm=False`, the batch's statistics normalise it and update
            `batch_stats`.
          auxiliary: whether to return `Scores`, with those of the head's auxiliary
            classifier beside the logits, None of a head that has none.
        """
        running = self.frozen_batch_norm or not train
        name = self.backbone.head_feature
        features = self.backbone(
            images, sizes, use_running_average=running, deterministic=not train
        )
        extents = None if sizes is None else extent(sizes, self.backbone.strides[name])
        head = HEADS[self.head](self.num_classes + 1, self.batch_norm_momentum, name="head")
        found = head(features[name], extents, running, not train)
        scores = found if isinstance(found, Scores) else Scores(found, None)
        return scores if auxiliary else scores.logits
