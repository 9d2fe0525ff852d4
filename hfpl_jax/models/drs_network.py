"""A backbone, three 3x3 convolutions and a 1x1 convolution with bias: the classifier of
DRS, of its refinement and of Group-WSSS.

Source: Kim, Han, Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic
Segmentation", AAAI 2021; models/vgg.py and vgg_refine.py of its program.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from hfpl_jax.models.cam_network import CamOutput, drop_channels
from hfpl_jax.models.convolution import BiasedConvolution, he_normal
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.models.suppression import rectified
from hfpl_jax.shapes import Array, Float, Int, typed

CHANNELS = 512
"""Of the three convolutions."""


class ConvolutionalHead(nn.Module):
    """Three times relu(conv(x)), 3x3 to 512 channels, then 1x1 to the scores; all with
    bias, which start at 0. What takes the place of the backbone's ReLUs takes that of
    these too.
    """

    num_classes: int
    suppression: str
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x, sizes):
        for number in (1, 2, 3):
            convolution = BiasedConvolution(
                CHANNELS, 3, dtype=x.dtype, kernel_init=self.kernel_init, name=f"conv{number}"
            )
            x = rectified(convolution(x, sizes), sizes, self.suppression, number)
        scores = nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="scores")
        return scores(x.astype(jnp.float32))


class DrsNetwork(nn.Module):
    """`logits = head(features)`.

    Attributes:
      backbone: a `Backbone`, with a suppression or none: `Vgg16(suppression="learnable")`
        is the published one.
      num_classes: foreground classes.
      frozen_batch_norm: normalise by the stored statistics in training too.
      dropout: in training, the share of the backbone's channels that are zeroed.
      kernel_init: of the head; N(0, sqrt(2 / (window * outputs))) in DRS.
    """

    backbone: nn.Module
    num_classes: int
    frozen_batch_norm: bool = True
    dropout: float = 0.0
    kernel_init: Initializer = he_normal

    @nn.compact
    @typed
    def __call__(
        self,
        images: Float[Array, "b h w 3"],
        sizes: Int[Array, "b 2"] | None = None,
        train: bool = False,
    ) -> CamOutput:
        """Scores before any activation; arguments as those of `CamNetwork`."""
        backbone = self.backbone
        features = backbone(
            images,
            sizes,
            use_running_average=self.frozen_batch_norm or not train,
            deterministic=not train,
        )
        feature = features[backbone.head_feature]
        dropped = drop_channels(feature, self.dropout, train).astype(feature.dtype)
        extents = None if sizes is None else extent(sizes, backbone.strides[backbone.head_feature])
        suppression = getattr(backbone, "suppression", "")
        head = ConvolutionalHead(self.num_classes, suppression, self.kernel_init, name="head")
        return CamOutput(head(dropped, extents), features)
