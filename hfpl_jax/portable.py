"""A trained network as one program that needs JAX alone: photographs of one size become
merged maps, as they are before any threshold.

All scales and mirror images, the parameters and what merges the maps are in it. What it
computes is what `TrainedClassifier.cams` and the final network's predictions are made
of, to float rounding.
"""

import jax
import jax.export
import jax.numpy as jnp

from hfpl_jax.errors import InputError
from hfpl_jax.inference import bicubic
from hfpl_jax.inference.padding import scaled_size
from hfpl_jax.trained import TrainedNetwork

PLATFORMS = ("cpu", "cuda", "tpu")

_MOST_PIXELS = 10**8  # of a photograph: more is a slip of the pen


def exported(network: TrainedNetwork, size: tuple[int, int]) -> jax.export.Exported:
    """`exported(network, size).call(images)`: uint8 [b, H, W, 3], of any number b and of
    `size`, to float32 [b, H, W, n], the maps of `network.channels`.

    Raises:
      InputError: the network sees nothing at this size, or its method's maps are merged
        by what cannot be compiled.
    """
    scaled_sizes = _scaled_sizes(network, size)
    axes = [bicubic.axes_of(size, scaled) for scaled in scaled_sizes]
    variables = jax.device_get(network.predictor.variables)

    def merged(*maps: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return network.merged(maps, scaled_sizes, size)

    def maps(images: jax.Array) -> jax.Array:
        of_scales = [
            _summed(network, variables, bicubic.resize(images, scaled, axes=each))
            for scaled, each in zip(scaled_sizes, axes, strict=True)
        ]
        try:
            return jax.vmap(merged)(*of_scales)
        except jax.errors.JAXTypeError as error:
            raise InputError(
                f"The {network.model.head['name']} of {network.folder} cannot be exported: its "
                "`merge` takes arrays of NumPy alone. Write it for those of JAX too, as "
                "hfpl_jax/methods/merge.py is written."
            ) from error

    (batch,) = jax.export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *size, 3), jnp.uint8)
    return jax.export.export(jax.jit(maps), platforms=PLATFORMS)(images)


def _summed(network: TrainedNetwork, variables: dict, images: jax.Array) -> jax.Array:
    """The network's maps of images of one scale, those of mirror images mirrored back
    and added.
    """
    predictor, (count, *size, _) = network.predictor, images.shape
    views = [images, images[:, :, ::-1]][: predictor.settings.views]
    batch = jnp.stack(views, axis=1).reshape(-1, *size, 3)
    sizes = jnp.broadcast_to(jnp.asarray(size, jnp.int32), (batch.shape[0], 2))
    logits = predictor.logits(variables, batch, sizes)
    logits = logits.reshape(count, -1, *logits.shape[1:])
    maps = logits[:, 0]
    if logits.shape[1] == 2:  # else mirrored images are in it already
        maps += logits[:, 1, :, ::-1]
    return maps


def _scaled_sizes(network: TrainedNetwork, size: tuple[int, int]) -> list[tuple[int, int]]:
    height, width = size
    if height * width > _MOST_PIXELS:
        raise InputError(
            f"--size={height},{width} has more than {_MOST_PIXELS // 10**6} million pixels. Give "
            "the size of the photographs, height and width."
        )
    settings, stride = network.predictor.settings, network.predictor.output_stride
    base = settings.base_size(size)
    sizes = [scaled_size(base, scale) for scale in settings.scales]
    smallest = min(sizes)
    if min(smallest) < stride:
        alike = settings.long_side and min(size) < max(size)
        raise InputError(
            f"--size={height},{width} is too small: the network looks at {smallest[0]} x "
            f"{smallest[1]} pixels at its smallest scale, but sees cells of {stride} x {stride}. "
            f"Give {'sides that are more alike' if alike else 'a larger size'}."
        )
    return sizes
