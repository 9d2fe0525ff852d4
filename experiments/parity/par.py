"""Pixel-adaptive refinement, held against AFA's program."""

import functools
import pathlib

import jax
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from hfpl_jax.refine.par import pixel_adaptive
from hfpl_jax.resize import resize_bilinear

TOLERANCE = 1e-5


def check_par(goldens: pathlib.Path) -> list[Check]:
    """par.npz: an image and masks of half its size -> the masks after one step and after
    ten; with two dilations after three; of an image of one colour.
    """
    with np.load(goldens / "par.npz") as golden:
        image, theirs = channels_last(golden["par_image"]), dict(golden)
    dilations = tuple(theirs["par_dilations"].tolist())
    masks = channels_last(theirs["par_masks"])
    masks = resize_bilinear(masks, image.shape[1:3], align_corners=True)
    refined = jax.jit(pixel_adaptive, static_argnames=("dilations", "steps"))
    of_all = functools.partial(refined, dilations=dilations)
    ours = {
        "out1": of_all(image, masks, steps=1),
        "out10": of_all(image, masks, steps=10),
        "d12_out3": refined(image, masks, dilations=(1, 2), steps=3),
        "constant_out1": of_all(0.0 * image + 7.0, masks, steps=1),
    }
    return [
        Check("PAR", name, relative_error(made, channels_last(theirs[f"par_{name}"])), TOLERANCE)
        for name, made in ours.items()
    ]
