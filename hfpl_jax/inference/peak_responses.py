"""Peak response maps: which pixels of a photograph a peak of a class's map comes from,
so that each peak shows the one instance it stands on.

Source: Zhou, Zhu, Ye, Qiu, Jiao, "Weakly Supervised Instance Segmentation using Class
Peak Response", CVPR 2018; peak_backprop.py and peak_response_mapping.py of its program.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from hfpl_jax.models.cam_network import ClassProduct
from hfpl_jax.models.convolution import (
    BiasedConvolution,
    ConvBatchNorm,
    Convolution,
    factor_and_shift,
    halve,
    inside,
    mask_padding,
)
from hfpl_jax.models.convolve import plain_convolution
from hfpl_jax.models.group_network import GroupGraph
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.shapes import Array, Float, Int, typed

LEAST = 1e-10
"""Below it an output of the positive weights has no response to hand on."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def responding_convolution(x, kernel, lowest, stride=1, dilation=1):
    """A convolution whose backward pass hands on responses in place of gradients.

      s = x - lowest;   Z = conv(s, max(W, 0))
      R_in = s * conv^T(max(W, 0), R_out / Z)   where Z > 0

    What goes in comes out: the sum of R_in is that of R_out over the outputs with Z >
    0.

    Args:
      x: [b, h, w, c].
      kernel: W, HWIO.
      lowest: of the input, an image at a time, [b, 1, 1, 1]; in a padded batch 0 in the
        padding, where x is 0 too: [b, h, w, 1].
      stride, dilation: as of any convolution; padding is torch's.
    """
    del lowest
    return plain_convolution(x, kernel, stride, dilation)


def _forward(x, kernel, lowest, stride, dilation):
    return plain_convolution(x, kernel, stride, dilation), (x, kernel, lowest)


def _backward(stride, dilation, saved, response):
    x, kernel, lowest = saved
    shifted, positive = x - lowest, nn.relu(kernel)
    outputs, back = jax.vjp(
        lambda shifted: plain_convolution(shifted, positive, stride, dilation), shifted
    )
    share = jnp.where(outputs < LEAST, 0.0, response / (jnp.abs(outputs) + LEAST))
    return shifted * back(share)[0], jnp.zeros_like(kernel), jnp.zeros_like(lowest)


responding_convolution.defvjp(_forward, _backward)


def _respond(x, kernel, sizes, stride=1, dilation=1):
    """Of the images' own pixels: the padding is neither their minimum nor shifted by
    it.
    """
    x, lowest = mask_padding(x, sizes), jnp.min(x, axis=(1, 2, 3), keepdims=True)
    if sizes is not None:
        own = inside(sizes, *x.shape[1:3])[..., None]
        lowest = jnp.min(jnp.where(own, x, jnp.inf), axis=(1, 2, 3), keepdims=True)
        lowest = jnp.where(own, lowest, 0.0)
    lowest = jax.lax.stop_gradient(lowest)
    return responding_convolution(x, kernel.astype(x.dtype), lowest, stride, dilation)


def _responding(cells: Array | None) -> Callable:
    """For `nn.intercept_methods`: every convolution, and what is a convolution of one
    pixel, responds; all other layers keep their gradient, and so does a graph of maps.

    Args:
      cells: rows and columns that each image of a padded batch has in the logits, whose
        grid the products with the classes have; None where there is no padding.
    """

    def intercept(next_call, args, kwargs, context) -> Any:
        module = context.module
        if context.method_name != "__call__" or _in_graph(module):
            return next_call(*args, **kwargs)
        if isinstance(module, ClassProduct):
            feature, kernel = args
            return _respond(feature, kernel[None, None], cells)
        own = module.variables.get("params", {}) if module.scope else {}
        if isinstance(module, nn.Dense):
            scores = _respond(args[0], own["kernel"][None, None], cells)
            return scores + own["bias"] if module.use_bias else scores
        if not isinstance(module, Convolution | ConvBatchNorm | BiasedConvolution):
            return next_call(*args, **kwargs)
        x, sizes, *_ = args
        y = _respond(x, own["kernel"], sizes, module.stride, module.dilation)
        if isinstance(module, BiasedConvolution):
            return y + own["bias"].astype(y.dtype)
        if isinstance(module, ConvBatchNorm):
            stored = module.variables["batch_stats"]
            folded = own["scale"], own["bias"], stored["mean"], stored["var"]
            factor, shift = factor_and_shift(*folded)
            y = y * factor.astype(y.dtype) + shift.astype(y.dtype)
        return y, halve(sizes, module.stride)

    return intercept


def _in_graph(module: Any) -> bool:
    """Whether a module is part of what maps of a group tell each other: its products are
    of pixels with pixels and of states, no convolutions of an image.
    """
    while isinstance(module, nn.Module):
        if isinstance(module, GroupGraph):
            return True
        module = module.parent
    return False


@typed
def peak_responses(
    network: nn.Module,
    variables: Mapping,
    image: Float[Array, "H W 3"],
    peaks: Int[Array, "n 3"],
) -> Float[jax.Array, "n H W"]:
    """The peak response map of each peak, all of them in one backward pass: at least 0
    and of sum 1; zeros where nothing positive arrives.

    Responses start with 1 at the peak's logit. A convolution hands them on as
    `responding_convolution` does, every other layer as gradients; what arrives at the
    image is summed over its colours, and what is below 0 left out. Where normalisations
    have negative scales, or layers are added, the responses of a layer need not sum to
    1.

    Args:
      network: whose output has `logits`; with its stored statistics.
      image: normalised.
      peaks: (class, row, column) of its logits.
    """

    def logits_of(image: jax.Array) -> jax.Array:
        return network.apply(variables, image[None]).logits[0]

    with nn.intercept_methods(_responding(None)):
        logits, back = jax.vjp(logits_of, jnp.asarray(image))

    def response(peak: jax.Array) -> jax.Array:
        start = jnp.zeros_like(logits).at[peak[1], peak[2], peak[0]].set(1.0)
        return back(start)[0]

    return _of_sum_one(jax.vmap(response)(jnp.asarray(peaks)))


@typed
def batch_responses(
    network: nn.Module,
    variables: Mapping,
    images: Float[Array, "b H W 3"],
    sizes: Int[Array, "b 2"],
    peaks: Int[Array, "b 3"],
) -> Float[jax.Array, "b H W"]:
    """As `peak_responses`, of one peak an image of a padded batch. In the padding a map
    is 0, and elsewhere as it is without.

    Args:
      network: with an attribute `backbone`.
      sizes: height and width of each image without its padding.
      peaks: (class, row, column) of the logits of each.
    """

    def logits_of(images: jax.Array) -> jax.Array:
        return network.apply(variables, images, sizes=sizes).logits

    with nn.intercept_methods(_responding(extent(sizes, network.backbone.output_stride))):
        logits, back = jax.vjp(logits_of, jnp.asarray(images))
    place = jnp.arange(len(logits)), peaks[:, 1], peaks[:, 2], peaks[:, 0]
    return _of_sum_one(back(jnp.zeros_like(logits).at[place].set(1.0))[0])


def _of_sum_one(arrived: jax.Array) -> jax.Array:
    """Response maps [n, H, W] of what arrived at the images [n, H, W, 3]."""
    responses = nn.relu(jnp.sum(arrived, axis=-1))
    total = jnp.sum(responses, axis=(1, 2), keepdims=True)
    return jnp.where(total > 0.0, responses / jnp.where(total > 0.0, total, 1.0), 0.0)
