"""Locally adaptive learning: neighbouring pixels of one class are scored together, so
that a window gives one loss a class and not one a pixel.

Source: Guo, Ren, Gu, Xu, Wu, "Locally Adaptive Learning Loss for Semantic Image
Segmentation", arXiv 1802.08290. Its body was not within reach and no program of it was
found, so this is our reading: logits are pooled, not probabilities, only windows that
lie inside the map count, and their mean is that of the batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array, Bool, Float, UInt8, typed


class WindowLosses(NamedTuple):
    """The cross-entropies of windows, and which of them count; what does not is 0."""

    losses: Float[jax.Array, "*b"]
    counted: Bool[jax.Array, "*b"]


def _cross_entropies(pooled: jax.Array, target: jax.Array, counted: jax.Array) -> WindowLosses:
    """log sum_k exp v_k - v_t, of the scores v in the last axis; never below 0."""
    own = jnp.take_along_axis(pooled, target[..., None].astype(jnp.int32), axis=-1)
    return WindowLosses(jnp.where(counted, jax.nn.logsumexp(pooled - own, axis=-1), 0.0), counted)


def _check_window(window: int, height: int, width: int) -> None:
    if window > min(height, width):
        raise InputError(
            f"No window of {window} x {window} fits into logits of {height} x {width}. Make the "
            "window smaller or the crops larger."
        )


@typed
def center_losses(
    logits: Float[Array, "b h w k"],
    labels: UInt8[Array, "b h w"],
    *,
    window: int,
    stride: int = 1,
    sigma: float | int = 2.0,
) -> WindowLosses:
    """Of windows around every `stride`-th pixel c, the class t = y_c of this pixel:

      a_i = w_i [y_i = t] / sum_j w_j [y_j = t],  w_i = exp(-d_i^2 / (2 sigma^2))
      v = sum_i a_i z_i,  l = log sum_k exp v_k - v_t

    d is the chessboard distance to c. The window^2 pixels of all windows are added one
    offset after the other, so that no array holds the windows themselves.

    Args:
      logits: z, one channel a class, background first.
      labels: y: 0 ... k - 1, or 255 for a pixel that is in no window.
      window: pixels along an edge, odd.
      sigma: in pixels; infinite where all weigh the same.

    Returns:
      [b, rows, columns]; a window around an ignored pixel does not count.

    Raises:
      InputError: the window is even, or larger than the map.
    """
    if window % 2 == 0:
        raise InputError(f"A window of {window} pixels has no centre. Make it odd.")
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    height, width = labels.shape[1:]
    _check_window(window, height, width)
    reach = window // 2

    def at(maps: jax.Array, dy: int, dx: int) -> jax.Array:
        last_row, last_column = height - window + 1, width - window + 1
        return maps[:, dy : dy + last_row : stride, dx : dx + last_column : stride]

    own = at(labels, reach, reach)
    weighted, weights = jnp.zeros((), logits.dtype), jnp.zeros((), logits.dtype)
    for dy in range(window):
        for dx in range(window):
            distance = max(abs(dy - reach), abs(dx - reach))
            weight = float(np.exp(-0.5 * (distance / sigma) ** 2))
            taken = jnp.where(at(labels, dy, dx) == own, weight, 0.0).astype(logits.dtype)
            weighted += taken[..., None] * at(logits, dy, dx)
            weights += taken
    counted = own != IGNORE
    return _cross_entropies(weighted / weights[..., None], jnp.where(counted, own, 0), counted)


@typed
def per_class_losses(
    logits: Float[Array, "b h w k"], labels: UInt8[Array, "b h w"], *, window: int
) -> WindowLosses:
    """Of tiles of the map and each class t in them; all pixels weigh the same:

      v_t = mean of z_i over the tile's pixels with y_i = t
      l_t = log sum_k exp v_tk - v_tt

    Rows and columns behind the last whole tile are in none.

    Args:
      logits: z, one channel a class, background first.
      labels: y: 0 ... k - 1, or 255 for a pixel that counts for no class.
      window: pixels along a tile's edge.

    Returns:
      [b, rows, columns, k]; a class that is not in a tile does not count.

    Raises:
      InputError: the tile is larger than the map.
    """
    logits, labels = at_least_float32(logits), jnp.asarray(labels)
    b, height, width, k = logits.shape
    _check_window(window, height, width)
    rows, columns = height // window, width // window

    def tiled(maps: jax.Array) -> jax.Array:
        whole = maps[:, : rows * window, : columns * window]
        return whole.reshape(b, rows, window, columns, window, *maps.shape[3:])

    of_class = jax.nn.one_hot(tiled(labels), k, dtype=logits.dtype)  # 255 is none of them
    summed = jnp.einsum("brycxt,brycxk->brctk", of_class, tiled(logits), precision="highest")
    count = jnp.sum(of_class, axis=(2, 4))
    classes = jnp.broadcast_to(jnp.arange(k), count.shape)
    return _cross_entropies(summed / jnp.maximum(count, 1.0)[..., None], classes, count > 0.0)


@typed
def minkowski_mean(
    losses: Float[Array, "*b"], counted: Bool[Array, "*b"], *, k: float | int
) -> Float[jax.Array, ""]:
    """((1/M) sum_m l_m^k)^(1/k) over the M losses that count; 0 with a gradient of 0 if
    all are 0 or none counts.

    k = 1 is the mean; a larger k stresses the large ones. The largest is taken out of the
    powers, so that none of them overflows.

    Args:
      losses: l, at least 0.
      k: at least 1.
    """
    losses = jnp.where(counted, at_least_float32(losses), 0.0)
    largest = jax.lax.stop_gradient(jnp.max(losses, initial=0.0))
    some = largest > 0.0
    powers = (losses / jnp.where(some, largest, 1.0)) ** k
    mean = jnp.sum(powers) / jnp.maximum(jnp.sum(counted), 1)
    return largest * jnp.where(some, mean, 1.0) ** (1.0 / k)


@typed
def locally_adaptive_loss(
    logits: Float[Array, "b h w k"],
    labels: UInt8[Array, "b h w"],
    *,
    mode: str = "center",
    window: int = 7,
    stride: int = 1,
    sigma: float | int = 2.0,
    k: float | int = 5,
) -> Float[jax.Array, ""]:
    """`minkowski_mean` of the `center_losses`, or of the `per_class_losses`, of the
    batch: 0 where no window counts.

    With a window of 1 pixel and k = 1 it is the pixelwise cross-entropy.

    Args:
      logits: one channel a class, background first, at the resolution of the windows.
      labels: 0 ... k - 1, or 255 for a pixel that is in no window.
      mode: "center", or "per_class", which reads neither `stride` nor `sigma`.
      window: pixels along an edge.
      stride: pixels from a window to the next one.
      sigma: of the weights of a window's pixels, in pixels.
      k: of the mean over the windows.

    Raises:
      InputError: as in the function of the mode.

    Source: our reading of the paper, which found k = 5 best on VOC as readers of it say;
    window, stride and sigma are ours.
    """
    found = (
        center_losses(logits, labels, window=window, stride=stride, sigma=sigma)
        if mode == "center"
        else per_class_losses(logits, labels, window=window)
    )
    return minkowski_mean(*found, k=k)
