"""Backgrounds of the generated scenes: meadow, sky, sand, bricks, water, planks,
pebbles, and two of them with a horizon between.

A background is a function (rng, height, width) -> float32 [height, width, 3] in [0, 1].
"""

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image

Background = Callable[[np.random.Generator, int, int], np.ndarray]


def color(hue: float, saturation: float, value: float) -> np.ndarray:
    """HSV -> float32 [3] RGB, all in [0, 1]; the hue may lie outside, it wraps
    around.
    """
    return np.array(
        colorsys.hsv_to_rgb(hue % 1.0, np.clip(saturation, 0, 1), np.clip(value, 0, 1)), np.float32
    )


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell_y: float, cell_x: float
) -> np.ndarray:
    """Noise of about unit spread whose bumps are `cell_y` x `cell_x` pixels: a coarse
    random grid, enlarged bicubically.
    """
    grid = rng.standard_normal(
        (max(2, round(height / cell_y) + 1), max(2, round(width / cell_x) + 1))
    ).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def cloudy_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Three octaves of smooth noise, each half as wide and half as strong as the one
    before.
    """
    return (
        sum(
            smooth_noise(rng, height, width, cell / 2**octave, cell / 2**octave) / 2**octave
            for octave in range(3)
        )
        / 1.15
    )


def _between(low: np.ndarray, high: np.ndarray, amount: np.ndarray) -> np.ndarray:
    amount = np.clip(amount, 0.0, 1.0)[..., None]
    return low * (1.0 - amount) + high * amount


def _rows(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(
        np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij"
    )


def meadow(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    hue = rng.uniform(0.19, 0.33)
    blades = 0.6 * smooth_noise(rng, height, width, 7, 1.6) + 0.4 * smooth_noise(
        rng, height, width, 4, 1.2
    )
    patches = cloudy_noise(rng, height, width, 40)
    value = rng.uniform(0.38, 0.6)
    return _between(
        color(hue + 0.02, 0.65, value - 0.13),
        color(hue - 0.03, 0.55, value + 0.15),
        0.5 + 0.22 * blades + 0.18 * patches,
    )


def sky(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, _ = _rows(height, width)
    evening = rng.random() < 0.35
    top = color(rng.uniform(0.55, 0.64), rng.uniform(0.4, 0.65), rng.uniform(0.6, 0.9))
    bottom = color(rng.uniform(0.04, 0.1), 0.4, 0.95) if evening else color(0.56, 0.15, 0.97)
    clouds = (
        0.8 * cloudy_noise(rng, height, width, 36)
        + 0.4 * smooth_noise(rng, height, width, 14, 45)
        - rng.uniform(0.0, 0.8)
    )
    return _between(
        _between(top, bottom, y / height), np.array([0.97, 0.96, 0.95], np.float32), 0.55 * clouds
    )


def sand(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = _rows(height, width)
    value = rng.uniform(0.68, 0.88)
    warp = 5.0 * cloudy_noise(rng, height, width, 50)
    ripples = np.sin(
        (y * np.cos(0.3) + x * np.sin(rng.uniform(-0.5, 0.5)) + warp)
        * 2
        * np.pi
        / rng.uniform(7, 12)
    )
    grains = rng.standard_normal((height, width)).astype(np.float32)
    hue, saturation = rng.uniform(0.08, 0.13), rng.uniform(0.25, 0.45)
    shade = 0.5 + 0.2 * ripples + 0.12 * grains + 0.1 * warp / 5
    return _between(
        color(hue, saturation + 0.08, value - 0.12),
        color(hue, saturation - 0.08, value + 0.1),
        shade,
    )


def bricks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = _rows(height, width)
    tall = rng.uniform(10, 16)
    wide = tall * rng.uniform(1.9, 2.5)
    row = np.floor(y / tall)
    along = x / wide + 0.5 * (row % 2)
    column = np.floor(along)
    tones = rng.standard_normal((int(height / tall) + 2, int(width / wide) + 3)).astype(np.float32)
    tone = tones[row.astype(int), column.astype(int)] + 0.5 * cloudy_noise(rng, height, width, 6)
    hue, saturation, value = rng.uniform(-0.02, 0.09), rng.uniform(0.15, 0.6), rng.uniform(0.4, 0.7)
    wall = _between(
        color(hue, saturation, value - 0.14),
        color(hue + 0.02, saturation - 0.06, value + 0.12),
        0.5 + 0.2 * tone,
    )
    edge = np.minimum((y / tall - row) * tall, (along - column) * wide)
    mortar = color(0.1, 0.08, min(value + rng.uniform(0.0, 0.2), 0.85))
    return _between(wall, mortar, 0.9 * (edge < 1.5))


def water(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    waves = 0.65 * smooth_noise(rng, height, width, 4, 16) + 0.35 * smooth_noise(
        rng, height, width, 2, 7
    )
    hue, value = rng.uniform(0.47, 0.62), rng.uniform(0.42, 0.7)
    sea = _between(
        color(hue, 0.7, value - 0.12), color(hue - 0.03, 0.45, value + 0.16), 0.5 + 0.28 * waves
    )
    return _between(sea, np.ones(3, np.float32), 0.5 * (waves - 1.1))


def planks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Boards across the image, or upright."""
    return (
        _boards(rng, height, width)
        if rng.random() < 0.5
        else _boards(rng, width, height).swapaxes(0, 1)
    )


def _boards(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, _ = _rows(height, width)
    wide = rng.uniform(14, 26)
    plank = np.floor(y / wide)
    tones = rng.standard_normal(int(height / wide) + 2).astype(np.float32)
    grain = 0.6 * smooth_noise(rng, height, width, 1.6, 45) + 0.5 * smooth_noise(
        rng, height, width, 4, 70
    )
    hue, saturation, value = (
        rng.uniform(0.05, 0.11),
        rng.uniform(0.25, 0.6),
        rng.uniform(0.45, 0.75),
    )
    shade = 0.5 + 0.2 * grain + 0.15 * tones[plank.astype(int)]
    floor = _between(
        color(hue, saturation + 0.1, value - 0.15),
        color(hue + 0.01, saturation, value + 0.12),
        shade,
    )
    return floor * (1.0 - 0.55 * (y - plank * wide < 1.2))[..., None]


def pebbles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = _rows(height, width)
    cell = rng.uniform(11, 17)
    rows, columns = int(height / cell) + 4, int(width / cell) + 4
    centres = rng.uniform(0.1, 0.9, (rows, columns, 2)).astype(np.float32)
    tones = rng.standard_normal((rows, columns)).astype(np.float32)
    row, column = np.floor(y / cell).astype(int) + 1, np.floor(x / cell).astype(int) + 1
    nearest = np.full((height, width), np.inf, np.float32)
    second, tone = nearest.copy(), np.zeros_like(nearest)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            r, c = row + down, column + right
            distance = np.hypot(
                r - 1 + centres[r, c, 0] - y / cell, c - 1 + centres[r, c, 1] - x / cell
            )
            tone = np.where(distance < nearest, tones[r, c], tone)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.04, 0.16), rng.uniform(0.5, 0.75)
    stones = _between(
        color(hue, saturation + 0.05, value - 0.15),
        color(hue, saturation, value + 0.12),
        0.5 + 0.25 * tone,
    )
    gap = np.clip((second - nearest) * 5, 0.0, 1.0)
    return stones * (0.62 + 0.38 * gap)[..., None] * (1.05 - 0.25 * nearest[..., None])


def horizon(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sky over a meadow, or over the sea, or the sea over sand."""
    far, near = ((sky, meadow), (sky, water), (water, sand))[rng.integers(3)]
    line = rng.uniform(0.25, 0.5) * height + 2.0 * smooth_noise(rng, 2, width, 2, 30)[0]
    y, _ = _rows(height, width)
    return _between(far(rng, height, width), near(rng, height, width), y - line)


BACKGROUNDS: tuple[Background, ...] = (
    meadow,
    sky,
    sand,
    bricks,
    water,
    planks,
    pebbles,
    horizon,
    horizon,
)
"""Horizons are twice as likely as the others: they come in three kinds."""
