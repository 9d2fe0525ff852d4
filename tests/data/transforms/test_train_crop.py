import numpy as np
import pytest

from hfpl_jax.data.transforms.resample import resize_long
from hfpl_jax.data.transforms.train_crop import (
    adjust_color,
    random_color_jitter,
    random_crop,
    random_flip,
    random_resize_long,
    train_crop,
)

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (100, 100, 100)


def rgb(*rows):
    return np.array(rows, np.uint8)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_random_resize_long_reaches_both_ends_and_nothing_else():
    rng = np.random.default_rng(0)
    sides = {random_resize_long(rng, photo(4, 8), 10, 12).shape[1] for _ in range(60)}
    assert sides == {10, 11, 12}


def test_random_flip_mirrors_columns_half_of_the_time():
    image = rgb([RED, GREEN, BLUE], [GREY, GREY, RED])
    mirrored = rgb([BLUE, GREEN, RED], [RED, GREY, GREY])
    rng = np.random.default_rng(0)
    flips = 0
    for _ in range(200):
        result = random_flip(rng, image)
        is_mirrored = np.array_equal(result, mirrored)
        assert is_mirrored or np.array_equal(result, image)
        flips += is_mirrored
    assert 70 < flips < 130


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


def test_random_crop_of_a_larger_image_is_one_of_its_windows():
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(200):
        crop, valid = random_crop(rng, image, 3)
        assert valid.all()
        top, left = divmod(int(crop[0, 0, 0]) // 3, 5)
        np.testing.assert_array_equal(crop, image[top : top + 3, left : left + 3])
        places.add((top, left))
    assert places == {(top, left) for top in (0, 1) for left in (0, 1, 2)}


def test_random_crop_places_a_smaller_image_anywhere_inside():
    image = rgb([RED, GREEN])
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(300):
        crop, valid = random_crop(rng, image, 3)
        top, left = np.argwhere(valid)[0].tolist()
        places.add((top, left))
        expected = np.zeros((3, 3, 3), np.uint8)
        expected[top, left : left + 2] = image
        np.testing.assert_array_equal(crop, expected)
        np.testing.assert_array_equal(valid, expected.any(axis=2))
    assert places == {(top, left) for top in (0, 1, 2) for left in (0, 1)}


def test_random_crop_mixes_cutting_and_padding():
    crop, valid = random_crop(np.random.default_rng(0), np.full((2, 7, 3), 9, np.uint8), 4)
    assert crop.shape == (4, 4, 3)
    assert valid.sum() == 8
    assert set(valid.all(axis=1).tolist()) == {True, False}
    assert (crop[valid] == 9).all()
    assert (crop[~valid] == 0).all()


def test_random_crop_of_the_same_size_is_the_image():
    image = photo(3, 3)
    crop, valid = random_crop(np.random.default_rng(0), image, 3)
    np.testing.assert_array_equal(crop, image)
    assert valid.all()


def test_train_crop_is_a_function_of_the_generator():
    def run(seed, jitter=True):
        return train_crop(
            np.random.default_rng(seed),
            photo(20, 30),
            crop_size=16,
            resize_range=(20, 40),
            jitter=jitter,
        )

    np.testing.assert_array_equal(run(3)[0], run(3)[0])
    assert not np.array_equal(run(3)[0], run(4)[0])
    assert not np.array_equal(run(3)[0], run(3, jitter=False)[0])


def test_train_crop_without_jitter_is_a_window_of_the_resized_image():
    image = photo(10, 20)
    crop, valid = train_crop(
        np.random.default_rng(0), image, crop_size=8, resize_range=(16, 16), jitter=False
    )
    resized = resize_long(image, 16)
    windows = [
        window[:, left : left + 8] for window in (resized, resized[:, ::-1]) for left in range(9)
    ]
    assert valid.all()
    assert any(np.array_equal(crop, window) for window in windows)
