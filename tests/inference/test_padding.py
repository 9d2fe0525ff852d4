import numpy as np
import pytest

from hfpl_jax.inference.padding import plan_shapes, scaled_size, smallest_fit


def photograph_sizes(seed):
    """Of a data set: some common sizes, many rare ones."""
    rng = np.random.default_rng(seed)
    common = rng.integers(1, 700, (3, 2))
    return np.concatenate(
        [
            common[rng.integers(0, 3, rng.integers(1, 200))],
            rng.integers(1, 700, (rng.integers(1, 60), 2)),
        ]
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [1, 2, 5, 1000])
def test_every_size_fits_one_of_few_shapes(seed, count):
    sizes = photograph_sizes(seed)
    shapes = plan_shapes(sizes, count)
    assert 1 <= len(shapes) <= count
    assert len(set(shapes)) == len(shapes)
    assert shapes == sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape))
    assert plan_shapes(sizes[np.random.default_rng(0).permutation(len(sizes))], count) == shapes
    for height, width in sizes.tolist():
        fit = smallest_fit((height, width), shapes)
        assert height <= shapes[fit][0]
        assert width <= shapes[fit][1]
        for smaller in shapes[:fit]:
            assert height > smaller[0] or width > smaller[1]
        for scale in (0.5, 0.75, 1.0, 1.3, 2.0):
            scaled = scaled_size((height, width), scale)
            assert all(
                side <= np.ceil(padded * scale)
                for side, padded in zip(scaled, shapes[fit], strict=True)
            )
    if count == 1000:  # nothing needs to be merged
        waste = [
            shapes[smallest_fit(size, shapes)] - np.array(size)
            for size in map(tuple, sizes.tolist())
        ]
        assert np.max(waste) < 32


def test_more_shapes_waste_less_area():
    sizes = photograph_sizes(3)

    def padded_area(count):
        shapes = plan_shapes(sizes, count)
        return sum(
            np.prod(shapes[smallest_fit(size, shapes)]) for size in map(tuple, sizes.tolist())
        )

    areas = [padded_area(count) for count in (1, 2, 4, 16)]
    assert areas == sorted(areas, reverse=True)
    assert areas[2] < 0.8 * areas[0]


def test_portrait_and_landscape_are_kept_apart():
    assert plan_shapes(np.array([[500, 375], [375, 500], [333, 500], [500, 334]]), 2) == [
        (384, 512),
        (512, 384),
    ]


def test_scaled_size():
    assert scaled_size((375, 500), 0.5) == (188, 250)
    assert scaled_size((3, 1), 0.1) == (1, 1)
    assert scaled_size((50, 66), 1.5) == (75, 99)
