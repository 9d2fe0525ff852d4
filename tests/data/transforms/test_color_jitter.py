import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from hfpl_jax.data.transforms.color_jitter import (
    adjust_color,
    adjusted_part,
    random_adjustments,
    random_color_jitter,
)

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (100, 100, 100)


def rgb(*rows):
    return np.array(rows, np.uint8)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(image, kind, amount):
    """As torchvision has it done."""
    if kind != "hue":
        enhancers = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}
        enhancer = getattr(ImageEnhance, enhancers[kind])
        return np.asarray(enhancer(Image.fromarray(image)).enhance(amount))
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turned = Image.fromarray(np.asarray(hue) + np.uint8(int(amount * 255) % 256))
    return np.asarray(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def every_colour():
    """In 64 images of 512x512 pixels."""
    low = np.stack(np.meshgrid(*2 * [np.arange(256, dtype=np.uint8)], indexing="ij"), -1)
    for first in range(0, 256, 4):
        red = np.repeat(np.arange(first, first + 4, dtype=np.uint8), 256 * 256)
        yield np.column_stack([red, np.tile(low.reshape(-1, 2), (4, 1))]).reshape(512, 512, 3)


@pytest.mark.parametrize("turn", [0.0, 0.07, -0.1])
def test_the_hue_of_every_colour_turns_as_pillow_turns_it(turn):
    for image in every_colour():
        np.testing.assert_array_equal(
            adjust_color(image, "hue", turn), by_pillow(image, "hue", turn)
        )


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.0, 0.7, 0.9137, 1.0, 1.3, 3.0])
def test_other_adjustments_are_pillows(kind, factor):
    image = photo(60, 70)
    adjusted = adjust_color(image, kind, factor)
    np.testing.assert_array_equal(adjusted, by_pillow(image, kind, factor))


def test_an_adjusted_part_is_a_part_of_the_adjusted_whole_in_every_order():
    image, amounts = photo(20, 30), {"brightness": 1.2, "contrast": 0.8, "saturation": 1.3}
    rows, columns = slice(3, 17), slice(5, 20)
    for adjustments in itertools.permutations([*amounts.items(), ("hue", 0.06)]):
        whole = image
        for kind, amount in adjustments:
            whole = adjust_color(whole, kind, amount)
        part = adjusted_part(image, adjustments, rows, columns)
        np.testing.assert_array_equal(part, whole[rows, columns])


def test_a_part_without_adjustments_is_as_it_was():
    image = photo(20, 30)
    part = adjusted_part(image, [], slice(3, 17), slice(5, 20))
    np.testing.assert_array_equal(part, image[3:17, 5:20])


def test_a_part_can_be_adjusted_without_contrast():
    image, rows = photo(20, 30), slice(3, 17)
    part = adjusted_part(image, [("saturation", 0.5), ("hue", 0.1)], rows, slice(0, 30))
    expected = adjust_color(adjust_color(image, "saturation", 0.5), "hue", 0.1)
    np.testing.assert_array_equal(part, expected[rows])


def test_each_kind_is_drawn_once():
    orders = {
        tuple(kind for kind, _ in random_adjustments(np.random.default_rng(seed)))
        for seed in range(400)
    }
    assert orders == set(itertools.permutations(["brightness", "contrast", "saturation", "hue"]))


@pytest.mark.parametrize(
    ("kind", "amount", "before", "after"),
    [
        ("brightness", 0.5, [(100, 200, 40)], [(50, 100, 20)]),
        ("brightness", 1.3, [(100, 250, 0)], [(130, 255, 0)]),
        # Grey levels 50 and 150: their mean is 100; distances to it are halved.
        ("contrast", 0.5, [(50, 50, 50), (150, 150, 150)], [(75, 75, 75), (125, 125, 125)]),
        ("contrast", 1.0, [(10, 20, 30)], [(10, 20, 30)]),
        # The grey of pure red is 255 * 299 / 1000 = 76.
        ("saturation", 0.0, [RED], [(76, 76, 76)]),
        ("saturation", 0.5, [RED], [(165, 38, 38)]),
        ("saturation", 1.3, [GREY], [GREY]),
        ("hue", 0.0, [RED, GREEN, BLUE], [RED, GREEN, BLUE]),
        # 85 of 255 levels are a third of the circle: red -> green -> blue -> red.
        ("hue", 1 / 3 + 1e-6, [RED, GREEN, BLUE], [GREEN, BLUE, RED]),
        ("hue", 0.1, [GREY], [GREY]),
    ],
)
def test_adjust_color_on_literal_pixels(kind, amount, before, after):
    result = adjust_color(rgb(before), kind, amount)
    np.testing.assert_allclose(
        result.astype(int), rgb(after).astype(int), atol=3 if kind == "hue" else 1
    )


def test_hue_turns_back():
    forth = adjust_color(rgb([(200, 60, 60)]), "hue", 0.1)
    assert forth[0, 0, 1] > 90  # towards yellow
    assert forth[0, 0, 2] < 70
    back = adjust_color(rgb([(200, 60, 60)]), "hue", -0.1)
    assert back[0, 0, 2] > 90  # towards magenta, across the seam of the circle
    assert back[0, 0, 1] < 70


def test_color_jitter_without_spread_changes_nothing():
    image = rgb([RED, GREEN], [BLUE, GREY])
    result = random_color_jitter(
        np.random.default_rng(0), image, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0
    )
    np.testing.assert_array_equal(result, image)


def test_color_jitter_brightness_stays_in_its_range():
    image = np.full((1, 1, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    levels = [
        random_color_jitter(rng, image, contrast=0.0, saturation=0.0, hue=0.0).item(0)
        for _ in range(300)
    ]
    assert 69 <= min(levels) <= 74
    assert 126 <= max(levels) <= 131


def test_color_jitter_draws_the_order():
    # With contrast and brightness fixed by the same seed, only the order of the four
    # can differ.
    image = rgb([(250, 10, 30), (60, 200, 90), (5, 5, 240)])
    results = {
        random_color_jitter(np.random.default_rng(seed), image).tobytes() for seed in range(20)
    }
    assert len(results) == 20
