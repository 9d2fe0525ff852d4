"""The eight things of the generated scenes. Each has its own outline and texture, a
favourite hue, and may have any other.

A thing is a function (rng, u, v, palette) -> (depth, paint) over a patch of pixels in
the thing's own frame, u to the right and v down, its outline reaching to about 1 and
never to 1.1:
  depth: float32 [h, w], positive inside, about the distance to the outline (it shades
    the thing as if it were rounded);
  paint: float32 [h, w, 3], colour before light and shade.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from hfpl_jax.data.scene_backgrounds import color


@dataclasses.dataclass(frozen=True)
class Palette:
    """Colours of one thing, each float32 [3]: its main colour, a companion for the
    texture, a light and a dark accent.
    """

    main: np.ndarray
    companion: np.ndarray
    light: np.ndarray
    dark: np.ndarray


def random_palette(rng: np.random.Generator, name: str) -> Palette:
    """Colours of a thing: its hue is often near its favourite, often any; the companion
    is near in hue and clearly lighter or darker.
    """
    hue = rng.normal(FAVOURITE_HUE[name], 0.06) if rng.random() < 0.7 else rng.uniform()
    saturation, value = rng.uniform(0.5, 0.9), rng.uniform(0.55, 0.95)
    step = rng.uniform(0.18, 0.3) * (-1 if value > 0.75 else 1)
    companion = color(hue + rng.uniform(-0.06, 0.06), saturation - 0.12, value + step)
    return Palette(
        color(hue, saturation, value),
        companion,
        color(hue, 0.25, min(value + 0.25, 1.0)),
        color(hue, 0.8, value - 0.38),
    )


FAVOURITE_HUE = {
    "ball": 0.64,
    "butterfly": 0.15,
    "cushion": 0.76,
    "fish": 0.52,
    "kite": 0.88,
    "leaf": 0.31,
    "mushroom": 0.99,
    "starfish": 0.07,
}
"""A hint, not a giveaway: neighbouring hues overlap, a third of the things have
another, and grass, sky and sand have some of the same.
"""

Thing = Callable[
    [np.random.Generator, np.ndarray, np.ndarray, Palette], tuple[np.ndarray, np.ndarray]
]


def _mix(where: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return np.where(where[..., None], yes, no)


def ball(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """A disk with six slices that meet at a pole away from its centre."""
    depth = 1.0 - np.hypot(u, v)
    pole = rng.uniform(0.15, 0.45)
    # Seen on a sphere the slices bend: the pole's pull fades towards the rim.
    lift = np.sqrt(np.clip(1.0 - u * u - v * v, 0.0, 1.0))
    angle = np.arctan2(v, u - pole * (0.4 + 0.6 * lift))
    paint = _mix(np.sin(3 * angle) > 0, palette.main, palette.companion)
    return depth, _mix(np.hypot(u - pole, v) < 0.13, palette.light, paint)


def butterfly(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Two pairs of wings with veins, pale spots and a dark rim, and a slim body."""
    u, v = 1.1 * u, 1.1 * v
    side = np.abs(u)
    # The wings widen outwards, away from the body.
    upper = 0.42 * (
        1.0 - np.hypot((side - 0.48) / 0.48, (v + 0.06 + 0.45 * side) / (0.22 + 0.42 * side))
    )
    lower = 0.42 * (
        1.0 - np.hypot((side - 0.37) / 0.37, (v - 0.16 - 0.55 * side) / (0.22 + 0.36 * side))
    )
    body = 0.1 * (1.0 - np.hypot(u / 0.1, (v - 0.08) / 0.5))
    wings = np.maximum(upper, lower)
    paint = _mix(upper > lower, palette.main, palette.companion)
    veins = np.abs(np.sin(rng.uniform(6.0, 7.0) * np.arctan2(v - 0.05, side))) < 0.12
    paint = _mix(veins, palette.dark, paint)
    for at_u, at_v in ((0.66, -0.44), (0.46, 0.48)):
        paint = _mix(np.hypot(side - at_u, v - at_v) < 0.12, palette.light, paint)
    return np.maximum(wings, body), _mix((wings < 0.05) | (body > 0), palette.dark, paint)


def cushion(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """A square with pointed corners and sides that curve inwards, in checks."""
    side = 0.76
    pinch = rng.uniform(0.06, 0.14)
    across = side - pinch * np.cos(0.5 * np.pi * v / side) - np.abs(u)
    along = side - pinch * np.cos(0.5 * np.pi * u / side) - np.abs(v)
    checks = rng.uniform(2.2, 3.2)
    parity = (np.floor(u * checks + 0.5) + np.floor(v * checks + 0.5)) % 2
    return np.minimum(across, along), _mix(parity > 0, palette.main, palette.companion)


def fish(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """An oval body with cross stripes and an eye, a forked tail, a fin on its back."""
    body = 0.48 * (1.0 - np.hypot((u - 0.22) / 0.76, v / 0.48))
    behind = -0.35 - u
    tail = np.minimum(
        np.minimum(0.06 + 0.8 * behind - np.abs(v), behind), u + 0.9 - 0.4 * (0.45 - np.abs(v))
    )
    fin = np.minimum(np.minimum(v + 0.68 - 0.25 * u, 0.45 - np.abs(u - 0.1)), -v) * 0.5
    stripes = np.sin((u + 0.25 * v * v) * rng.uniform(13, 17)) > 0.1
    paint = _mix(stripes & (body > 0), palette.companion, palette.main)
    paint = _mix((u > 0.58) & (body > 0), palette.main, paint)
    eye = np.hypot(u - 0.68, v + 0.1)
    paint = _mix(eye < 0.1, palette.light, paint)
    return np.maximum(np.maximum(body, 0.5 * tail), fin), _mix(eye < 0.055, palette.dark, paint)


def kite(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """A kite: four panels in two colours, a cross of dark spars."""
    cross = rng.uniform(-0.38, -0.2)
    half = rng.uniform(0.6, 0.72)
    side = np.abs(u)
    top = (half * (v + 1.0) - (cross + 1.0) * side) / np.hypot(half, cross + 1.0)
    bottom = (half * (1.0 - v) - (1.0 - cross) * side) / np.hypot(half, 1.0 - cross)
    paint = _mix((u > 0) == (v > cross), palette.main, palette.companion)
    return np.minimum(top, bottom), _mix(
        (side < 0.04) | (np.abs(v - cross) < 0.04), palette.dark, paint
    )


def leaf(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """A pointed oval with a midrib and slanting veins, on a short stalk."""
    u = u + rng.uniform(-0.15, 0.15) * np.cos(0.5 * np.pi * v)  # bent a little
    length = np.clip((v + 1.0) / 1.75, 0.0, 1.0)
    blade = rng.uniform(0.5, 0.62) * np.clip(
        np.sin(np.pi * length**0.85), 0.0, None
    ) ** 0.9 - np.abs(u)
    stalk = np.minimum(0.05 - np.abs(u), np.minimum(1.0 - v, v))
    side = np.abs(u)
    veins = ((v + 0.8 * side) * rng.uniform(3.6, 4.8)) % 1.0 < 0.22
    paint = _mix(veins, palette.companion, palette.main)
    return np.maximum(0.8 * blade, stalk), _mix(side < 0.045, palette.light, paint)


def mushroom(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """A domed cap with pale dots on a pale, finely lined stem."""
    cap = np.minimum(0.75 * (1.0 - np.hypot(u / 0.95, (v + 0.05) / 0.85)), 0.1 - v - 0.18 * u * u)
    thickness = rng.uniform(0.2, 0.28)
    stem = np.minimum(
        thickness + 0.12 * v * v - np.abs(u), np.minimum(0.95 - v - 0.3 * u * u, v + 0.3)
    )
    spacing = rng.uniform(0.36, 0.44)
    row = np.floor((v + 0.95) / spacing)
    dot_u = (u + rng.uniform(0, spacing) + 0.5 * spacing * (row % 2)) % spacing - 0.5 * spacing
    dot_v = (v + 0.95) % spacing - 0.5 * spacing
    paint = _mix(np.hypot(dot_u, dot_v) < 0.3 * spacing, palette.light, palette.main)
    paint = _mix(cap < 0.06, palette.dark, paint)
    lines = np.sin(u * 45.0) > 0.6
    stalk = _mix(lines, 0.5 * (palette.light + palette.companion), palette.light)
    return np.maximum(cap, 0.8 * stem), _mix(cap > 0, paint, stalk)


def starfish(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, palette: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Five rounded arms, knobbly all over."""
    angle = np.arctan2(u, -v)
    arms = 0.5 + 0.5 * np.cos(5 * angle)
    depth = 0.6 * (0.34 + rng.uniform(0.58, 0.64) * arms**1.3 - np.hypot(u, v))
    pitch = rng.uniform(20, 25)
    knobs = np.sin(pitch * u) * np.sin(pitch * v) > 0.25
    paint = _mix(knobs, palette.companion, palette.main)
    return depth, _mix((arms > 0.93) & (np.hypot(u, v) < 0.75), palette.light, paint)


THINGS: dict[str, Thing] = {
    "ball": ball,
    "butterfly": butterfly,
    "cushion": cushion,
    "fish": fish,
    "kite": kite,
    "leaf": leaf,
    "mushroom": mushroom,
    "starfish": starfish,
}

MAX_TILT = {
    "ball": np.pi,
    "butterfly": 0.8,
    "cushion": np.pi,
    "fish": 0.5,
    "kite": 0.7,
    "leaf": 1.2,
    "mushroom": 0.35,
    "starfish": np.pi,
}
"""Largest rotation in radians, either way."""
