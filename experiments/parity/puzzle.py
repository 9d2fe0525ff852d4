"""PuzzleCAM's training step and its CAM inference, held against the published program:
the method's own functions, around a network that returns the recorded maps.
"""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.methods.puzzle import Puzzle, join
from hfpl_jax.training.objective import Batch, total_loss

TOLERANCE = 1e-5
STRIDE = 16
"""Of the published networks."""


class _Output(NamedTuple):
    logits: jax.Array


def _by_image(tiles: np.ndarray) -> jax.Array:
    """Channels last, and the tiles of an image together: there, the first tiles of all
    images come first.
    """
    pieces = np.moveaxis(tiles.reshape(4, -1, *tiles.shape[1:]), 0, 1)
    return channels_last(pieces.reshape(tiles.shape))


def check_step(goldens: pathlib.Path) -> list[Check]:
    """puzzle.npz: images, labels and the CAM logits of images and tiles at a step of a
    training -> tiles, joined maps, every loss term, and the gradients of the total.
    """
    with np.load(goldens / "puzzle.npz") as golden:
        theirs = {name.removeprefix("0_"): golden[name] for name in golden}
    images = channels_last(theirs["images"])
    progress = jnp.asarray(theirs["iteration"] / theirs["max_iteration"], jnp.float32)
    labels, valid = jnp.asarray(theirs["labels"]), jnp.ones(images.shape[:3], bool)
    method = Puzzle(
        reconstruction=float(theirs["alpha_final"]), ramp=float(theirs["alpha_schedule"])
    )

    def total(features, tiled_features):
        seen, recorded = [], iter((features, tiled_features))

        def apply(images, *, train):
            seen.append(images)
            return _Output(next(recorded))

        batch = Batch(images, labels, valid, progress)
        prediction = method.predict(apply, batch, jax.random.key(0))
        return total_loss(prediction), (prediction, seen[1])

    maps = channels_last(theirs["features"]), _by_image(theirs["tiled_features"])
    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (loss, (prediction, tiles)), slopes = step(*maps)
    pairs = {
        "tiles": (tiles, _by_image(theirs["tiled_images"])),
        "joined maps": (join(maps[1]), channels_last(theirs["merged_features"])),
        "class_loss": (prediction.losses["classification"], theirs["class_loss"]),
        "p_class_loss": (prediction.losses["classification_tiles"], theirs["p_class_loss"]),
        "re_loss": (prediction.losses["reconstruction"], theirs["re_loss"]),
        "alpha": (prediction.weights["reconstruction"], theirs["alpha"]),
        "loss": (loss, theirs["loss"]),
        "grad_features": (slopes[0], channels_last(theirs["grad_features"])),
        "grad_tiled": (slopes[1], _by_image(theirs["grad_tiled"])),
    }
    return [
        Check("PuzzleCAM", name, relative_error(*pair), TOLERANCE) for name, pair in pairs.items()
    ]


def check_inference(goldens: pathlib.Path) -> list[Check]:
    """puzzle_inference.npz: CAM logits of a photograph and its mirror image at four
    scales -> its CAMs at its size. Those at a quarter of it, which nothing reads here,
    are left out.
    """
    with np.load(goldens / "puzzle_inference.npz") as golden:
        arrays = dict(golden)
    checks, method = [], Puzzle()
    for case in sorted({name.split("_")[0] for name in arrays}):
        scaled_sizes = [tuple(map(int, size)) for size in arrays[f"{case}_scaled_sizes"]]
        maps = []
        for index, scaled in enumerate(scaled_sizes):
            logits = channels_last(arrays[f"{case}_features_{index}"])
            images, sizes = jnp.zeros((2, *scaled, 3)), jnp.asarray([scaled] * 2)
            output = _Output(logits)
            cams = method.maps(lambda images, sizes, output=output: output, images, sizes).cams
            maps.append(np.asarray(cams[0] + cams[1, :, ::-1]))
        classes = np.flatnonzero(arrays[f"{case}_label"])
        height, width = map(int, arrays[f"{case}_size"])
        ours = method.merge(maps, classes, scaled_sizes, (height, width), STRIDE)
        error = relative_error(np.moveaxis(ours, -1, 0), arrays[f"{case}_hr_cam"])
        checks.append(Check("PuzzleCAM", f"CAMs, case {case}", error, TOLERANCE))
    return checks
