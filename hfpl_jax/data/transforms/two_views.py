"""Two views of one photograph, for pretraining without labels: one flip for both, then
for each on its own a crop of random size and place, colour jitter, and grey.

Source: the augmentations of AMDIM's program (Bachman, Hjelm, Buchwalter, NeurIPS 2019).
"""

import dataclasses

import grain
import numpy as np
from PIL import Image

from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.transforms.color_jitter import adjust_color, random_color_jitter
from hfpl_jax.data.transforms.resample import RGB
from hfpl_jax.data.transforms.train_crop import random_flip
from hfpl_jax.shapes import UInt8, typed

AREA = (0.3, 1.0)
"""Share of the photograph that a crop has."""
RATIO = (0.7, 1.4)
"""Width over height of a crop."""
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
JITTERED, GREY = 0.8, 0.25
"""Probabilities."""
_TRIES = 10


def random_box(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a crop: its share of the area is uniform in `AREA`,
    the logarithm of its ratio in that of `RATIO`, its place uniform.

    Where ten such crops do not fit, as in a photograph that is very long, it is the
    largest in the middle whose ratio is allowed.
    """
    for _ in range(_TRIES):
        area = rng.uniform(*AREA) * height * width
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        wide, high = round(float(np.sqrt(area * ratio))), round(float(np.sqrt(area / ratio)))
        if 0 < wide <= width and 0 < high <= height:
            left = int(rng.integers(0, width - wide, endpoint=True))
            top = int(rng.integers(0, height - high, endpoint=True))
            return left, top, left + wide, top + high
    wide = max(1, min(width, round(height * RATIO[1])))
    high = max(1, min(height, round(width / RATIO[0])))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


@typed
def random_view(
    rng: np.random.Generator, image: RGB, size: int, *, jitter: bool
) -> UInt8[np.ndarray, "size size 3"]:
    """A random crop at `size` by `size` pixels, and its colours: jittered with
    probability 0.8, grey with 0.25.
    """
    box = random_box(rng, *image.shape[:2])
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box)
    view = np.asarray(resized)
    if jitter and rng.random() < JITTERED:
        view = random_color_jitter(rng, view, **JITTER)
    if jitter and rng.random() < GREY:
        view = adjust_color(view, "saturation", 0.0)
    return view


@dataclasses.dataclass(frozen=True)
class TwoViews(grain.transforms.RandomMap):
    """Example -> its two views: "image" uint8 [2, size, size, 3], "valid" bool
    [2, size, size], True throughout. Its labels are not read.
    """

    size: int
    jitter: bool = True

    def random_map(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = random_flip(rng, decode_image(example.image, example.file_name))
        views = [random_view(rng, image, self.size, jitter=self.jitter) for _ in range(2)]
        return {"image": np.stack(views), "valid": np.ones((2, self.size, self.size), bool)}
