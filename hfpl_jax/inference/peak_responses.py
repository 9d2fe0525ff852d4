"""Peak response maps: which pixels of a photograph a peak of a class's map comes from,
so that each peak shows the one instance it stands on.

Source: Zhou, Zhu, Ye, Qiu, Jiao, "Weakly Supervised Instance Segmentation using Class
Peak Response", CVPR 2018; peak_backprop.py and peak_response_mapping.py of its program.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.losses import find_peaks, peak_mean
from hfpl_jax.models.cam_network import ClassProduct
from hfpl_jax.models.convolution import (
    BiasedConvolution,
    ConvBatchNorm,
    Convolution,
    factor_and_shift,
    halve,
    mask_padding,
)
from hfpl_jax.models.convolve import plain_convolution
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
      lowest: of the input, an image at a time: [b, 1, 1, 1].
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


def _respond(x, kernel, stride=1, dilation=1):
    lowest = jax.lax.stop_gradient(jnp.min(x, axis=(1, 2, 3), keepdims=True))
    return responding_convolution(x, kernel.astype(x.dtype), lowest, stride, dilation)


def _of_matrix(x, kernel):
    return _respond(x, kernel[None, None])


def _respond_in_place(next_call, args, kwargs, context) -> Any:
    """For `nn.intercept_methods`: every convolution, and what is a convolution of one
    pixel, responds; all other layers keep their gradient.
    """
    module = context.module
    if context.method_name != "__call__":
        return next_call(*args, **kwargs)
    if isinstance(module, ClassProduct):
        return _of_matrix(*args)
    own = module.variables.get("params", {}) if module.scope else {}
    if isinstance(module, nn.Dense):
        scores = _of_matrix(args[0], own["kernel"])
        return scores + own["bias"] if module.use_bias else scores
    if not isinstance(module, Convolution | ConvBatchNorm | BiasedConvolution):
        return next_call(*args, **kwargs)
    x, sizes, *_ = args
    x = mask_padding(x, sizes) if module.kernel_size > 1 else x
    y = _respond(x, own["kernel"], module.stride, module.dilation)
    if isinstance(module, BiasedConvolution):
        return y + own["bias"].astype(y.dtype)
    if isinstance(module, ConvBatchNorm):
        stored = module.variables["batch_stats"]
        factor, shift = factor_and_shift(own["scale"], own["bias"], stored["mean"], stored["var"])
        y = y * factor.astype(y.dtype) + shift.astype(y.dtype)
    return y, halve(sizes, module.stride)


@typed
def strong_peaks(
    logits: Float[np.ndarray, "h w c"], *, class_threshold: float, peak_threshold: float
) -> Int[np.ndarray, "n 3"]:
    """(class, row, column) of the peaks of a photograph, in this order: of the classes
    whose `peak_mean` is at least one threshold, those above the other.
    """
    maps = jnp.asarray(logits)[None]
    shown = peak_mean(maps)[0] >= class_threshold
    found = find_peaks(maps)[0] & shown & (maps[0] > peak_threshold)
    return np.argwhere(np.asarray(found).transpose(2, 0, 1))


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

    with nn.intercept_methods(_respond_in_place):
        logits, back = jax.vjp(logits_of, jnp.asarray(image))

    def response(peak: jax.Array) -> jax.Array:
        start = jnp.zeros_like(logits).at[peak[1], peak[2], peak[0]].set(1.0)
        return nn.relu(jnp.sum(back(start)[0], axis=-1))

    responses = jax.vmap(response)(jnp.asarray(peaks))
    total = jnp.sum(responses, axis=(1, 2), keepdims=True)
    return jnp.where(total > 0.0, responses / jnp.where(total > 0.0, total, 1.0), 0.0)
