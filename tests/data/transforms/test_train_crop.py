import numpy as np

from hfpl_jax.data.transforms.color_jitter import random_color_jitter
from hfpl_jax.data.transforms.resample import resize_long
from hfpl_jax.data.transforms.train_crop import (
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


def test_train_crop_is_the_whole_photograph_jittered_then_cut():
    for seed in range(24):
        rng, same = (np.random.default_rng(seed) for _ in range(2))
        image = photo(30, 40, seed)
        crop, valid = train_crop(rng, image, crop_size=32, resize_range=(28, 60))
        whole = random_flip(same, random_resize_long(same, image, 28, 60))
        expected, inside = random_crop(same, random_color_jitter(same, whole), 32)
        np.testing.assert_array_equal(crop, expected)
        np.testing.assert_array_equal(valid, inside)
        assert rng.random() == same.random()
