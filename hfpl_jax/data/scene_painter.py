"""Paints one generated scene, its exact mask and which thing is seen where: a textured
background, one to four things on it, light, shade and a little noise.
"""

import numpy as np
from PIL import Image, ImageFilter

from hfpl_jax.data.scene_backgrounds import BACKGROUNDS, cloudy_noise
from hfpl_jax.data.scene_objects import MAX_TILT, THINGS, Palette, random_palette
from hfpl_jax.shapes import UInt8, typed

CLASS_NAMES: tuple[str, ...] = tuple(THINGS)

_SUPERSAMPLING = 2
"""Every pixel of a thing is the mean of 2 x 2 samples: soft outlines, and the mask
knows which pixels it covers for the greater part.
"""
_MIN_VISIBLE = 0.45
"""Share of a thing that the later ones leave to be seen, at least."""
_MIN_CONTRAST = 0.16
"""Smallest mean absolute RGB difference between a thing and what it lies on."""
_ATTEMPTS = 12


def _block_mean(samples: np.ndarray, size: int) -> np.ndarray:
    height, width = samples.shape[0] // size, samples.shape[1] // size
    return samples.reshape(height, size, width, size, *samples.shape[2:]).mean(axis=(1, 3))


def _frame(
    rng: np.random.Generator,
    name: str,
    box: tuple[int, int, int, int],
    centre: tuple[float, float],
    radius: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates u, v of every sample in a box (top, bottom, left, right): the thing's
    own frame, randomly turned and mirrored.
    """
    top, bottom, left, right = box
    step = 1.0 / _SUPERSAMPLING
    rows = (
        np.arange(top, bottom, step, dtype=np.float32)[: (bottom - top) * _SUPERSAMPLING]
        + 0.5 * step
        - centre[0]
    ) / radius
    columns = (
        np.arange(left, right, step, dtype=np.float32)[: (right - left) * _SUPERSAMPLING]
        + 0.5 * step
        - centre[1]
    ) / radius
    tilt = rng.uniform(-1.0, 1.0) * MAX_TILT[name]
    y, x = np.meshgrid(rows, columns, indexing="ij")
    u, v = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    return (-u if rng.random() < 0.5 else u), v


def _light(depth: np.ndarray, radius: float, sun: np.ndarray) -> np.ndarray:
    """Lambert's law on the thing puffed up like a cushion: brightness of each sample, 1
    where the surface is level.
    """
    height = np.sqrt(np.clip(depth, 0.0, None) + 1e-3)
    scale = radius * _SUPERSAMPLING  # samples in a unit of u
    slope_y, slope_x = (0.35 * scale * slope for slope in np.gradient(height))
    level = np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return np.clip((sun[2] - slope_x * sun[0] - slope_y * sun[1]) / level / sun[2], 0.45, 1.3)


def _cast_shadow(
    image: np.ndarray,
    coverage: np.ndarray,
    box: tuple[int, int, int, int],
    sun: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Darkens the image on the side of a thing that is away from the sun."""
    top, bottom, left, right = box
    shadow = np.zeros(image.shape[:2], np.float32)
    shadow[top:bottom, left:right] = coverage
    down, across = (round(-0.14 * radius * side) for side in (sun[1], sun[0]))
    shadow = np.roll(shadow, (down, across), (0, 1))
    blurred = Image.fromarray((255 * shadow).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(max(1.0, 0.07 * radius))
    )
    return image * (1.0 - 0.4 / 255.0 * np.asarray(blurred, np.float32)[..., None])


def _contrasting_palette(rng: np.random.Generator, name: str, under: np.ndarray) -> Palette:
    """A palette whose main colour and companion both stand out from the mean colour
    they will lie on.
    """
    best, best_contrast = None, -1.0
    for _ in range(_ATTEMPTS):
        palette = random_palette(rng, name)
        contrast = min(
            float(np.abs(paint - under).mean()) for paint in (palette.main, palette.companion)
        )
        if contrast > best_contrast:
            best, best_contrast = palette, contrast
        if contrast > _MIN_CONTRAST:
            break
    return best


def _place_thing(
    rng: np.random.Generator,
    image: np.ndarray,
    owners: np.ndarray,
    areas: list[int],
    label: int,
    sun: np.ndarray,
) -> np.ndarray | None:
    """Paints a thing of class `label` at a random place; None, and nothing changed, if
    it would hide too much of another.

    Args:
      rng: everything is drawn from it.
      image: float32 [height, width, 3], what is there already.
      owners: uint8 [height, width], number of the thing a pixel belongs to, 0 for
        background; changed in place.
      areas: pixels each thing covered when it was painted, the background's first; the
        new thing's number is its place in this list.
      label: position in CLASS_NAMES.
      sun: unit vector (right, down, towards the viewer) to the light.
    """
    height, width = owners.shape
    radius = rng.uniform(0.23, 0.4) * min(height, width)
    centre = (
        rng.uniform(0.6 * radius, height - 0.6 * radius),
        rng.uniform(0.6 * radius, width - 0.6 * radius),
    )
    top, left = (max(0, int(c - 1.1 * radius)) for c in centre)
    bottom, right = (
        min(side, int(c + 1.1 * radius) + 1)
        for side, c in zip((height, width), centre, strict=True)
    )
    box = top, bottom, left, right
    name = CLASS_NAMES[label]
    u, v = _frame(rng, name, box, centre, radius)
    under = image[top:bottom, left:right]
    palette = _contrasting_palette(rng, name, under.mean(axis=(0, 1)))
    depth, paint = THINGS[name](rng, u, v, palette)
    inside = (depth > 0).astype(np.float32)
    coverage = _block_mean(inside, _SUPERSAMPLING)
    covered = np.zeros(owners.shape, bool)
    covered[top:bottom, left:right] = coverage >= 0.5
    visible = np.bincount(owners[~covered], minlength=len(areas))
    if any(visible[number] < _MIN_VISIBLE * areas[number] for number in range(1, len(areas))):
        return None
    lit = paint * (inside * _light(depth, radius, sun))[..., None]
    grain = 1.0 + 0.05 * cloudy_noise(rng, bottom - top, right - left, 8)
    image = _cast_shadow(image, coverage, box, sun, radius)
    image[top:bottom, left:right] *= 1.0 - coverage[..., None]
    image[top:bottom, left:right] += _block_mean(lit, _SUPERSAMPLING) * grain[..., None]
    owners[covered] = len(areas)
    areas.append(int(covered.sum()))
    return image


@typed
def paint_scene(
    rng: np.random.Generator, height: int, width: int
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Paints a scene.

    Args:
      rng: everything is drawn from it.
      height: rows.
      width: columns.

    Returns:
      image: uint8 [height, width, 3] RGB.
      mask: uint8 [height, width]; 0 is background, i + 1 is the class `CLASS_NAMES[i]`.
        A pixel belongs to the thing that covers at least half of it.
      things: uint8 [height, width]; number of the thing that is seen there, from 1 on,
        0 for the background.
    """
    image = np.clip(
        BACKGROUNDS[rng.integers(len(BACKGROUNDS))](rng, height, width), 0.0, 1.0
    ).astype(np.float32)
    owners, areas, values = np.zeros((height, width), np.uint8), [height * width], [0]
    side, high = rng.uniform(-0.8, 0.8), rng.uniform(0.9, 1.3)
    sun = np.array([side, -0.7, high]) / np.sqrt(side**2 + 0.49 + high**2)
    wanted = rng.choice(4, p=[0.3, 0.4, 0.2, 0.1]) + 1
    for _ in range(_ATTEMPTS):
        if len(areas) > wanted:
            break
        label = int(rng.integers(len(CLASS_NAMES)))
        painted = _place_thing(rng, image, owners, areas, label, sun)
        if painted is not None:
            image = painted
            values.append(label + 1)
    daylight = 1.0 + 0.08 * cloudy_noise(rng, height, width, 90)
    image = image * daylight[..., None] + 0.015 * rng.standard_normal(image.shape, np.float32)
    pixels = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return pixels, np.array(values, np.uint8)[owners], owners
