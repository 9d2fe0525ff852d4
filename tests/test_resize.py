import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.resize import interpolation_matrix, resize_bilinear, taps


def naive_resize(maps, height, width, align_corners):
    """torch.nn.functional.interpolate(mode="bilinear", antialias=False), one output
    pixel after the other in float64.
    """

    def neighbours(i, source, target):
        if align_corners:
            coordinate = i * (source - 1) / (target - 1) if target > 1 else 0.0
        else:
            coordinate = max(0.0, (i + 0.5) * source / target - 0.5)
        first = min(int(coordinate), source - 1)
        return first, min(first + 1, source - 1), coordinate - first

    result = np.zeros((maps.shape[0], height, width, maps.shape[3]))
    for row in range(height):
        top, bottom, down = neighbours(row, maps.shape[1], height)
        for column in range(width):
            left, right, across = neighbours(column, maps.shape[2], width)
            upper = (1 - across) * maps[:, top, left] + across * maps[:, top, right]
            lower = (1 - across) * maps[:, bottom, left] + across * maps[:, bottom, right]
            result[:, row, column] = (1 - down) * upper + down * lower
    return result


SIZES = [
    ((5, 7), (5, 7)),
    ((5, 7), (11, 20)),
    ((13, 9), (4, 3)),
    ((6, 10), (9, 4)),
    ((1, 1), (4, 3)),
    ((1, 8), (3, 1)),
    ((7, 6), (1, 1)),
]


@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize("align_corners", [True, False])
def test_oracle(source, target, align_corners):
    maps = np.random.default_rng(0).normal(size=(2, *source, 3))
    resized = resize_bilinear(jnp.asarray(maps, jnp.float32), target, align_corners=align_corners)
    np.testing.assert_allclose(
        resized, naive_resize(maps, *target, align_corners), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("align_corners", [True, False])
def test_literal_values(align_corners):
    doubled = interpolation_matrix(2, 4, align_corners) @ np.array([0.0, 1.0])
    np.testing.assert_allclose(
        doubled, [0, 1 / 3, 2 / 3, 1] if align_corners else [0, 0.25, 0.75, 1], atol=1e-7
    )
    halved = interpolation_matrix(4, 2, align_corners) @ np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(halved, [0, 3] if align_corners else [0.5, 2.5], atol=1e-7)


@pytest.mark.parametrize("align_corners", [True, False])
def test_every_output_is_a_mean_of_two_neighbours_and_mirrors(align_corners):
    rng = np.random.default_rng(0)
    for source, target in rng.integers(1, 80, (200, 2)).tolist():
        matrix = interpolation_matrix(source, target, align_corners)
        assert matrix.shape == (target, source)
        assert matrix.min() >= 0
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
        for row in matrix:
            places = np.flatnonzero(row)
            assert len(places) <= 2
            assert places[-1] - places[0] <= 1
        if (
            target > 1 or not align_corners
        ):  # one output of aligned corners reads the first sample, as torch does
            np.testing.assert_allclose(matrix[::-1, ::-1], matrix, atol=1e-5)


def test_aligned_corners_keep_the_corners():
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 7, 2)), jnp.float32)
    resized = resize_bilinear(maps, (12, 30), align_corners=True)
    np.testing.assert_allclose(
        resized[:, [0, 0, -1, -1], [0, -1, 0, -1]],
        maps[:, [0, 0, -1, -1], [0, -1, 0, -1]],
        atol=1e-6,
    )


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("source", "target"), [((6, 4), (9, 3)), ((6, 7), (5, 3)), ((5, 3), (8, 9)), ((4, 9), (4, 8))]
)
def test_gradient_is_the_transposed_resize(source, target, align_corners):
    rng = np.random.default_rng(0)
    maps, cotangent = rng.normal(size=(1, *source, 2)), rng.normal(size=(1, *target, 2))
    _, pull_back = jax.vjp(
        lambda m: resize_bilinear(m, target, align_corners=align_corners),
        jnp.asarray(maps, jnp.float32),
    )
    gradient = np.asarray(pull_back(jnp.asarray(cotangent, jnp.float32))[0])
    other = rng.normal(size=maps.shape)
    assert np.sum(gradient * other) == pytest.approx(
        np.sum(cotangent * naive_resize(other, *target, align_corners)), rel=1e-4
    )


@pytest.mark.parametrize("align_corners", [True, False])
def test_no_pixel_is_read_twice_on_one_side_where_maps_become_smaller(align_corners):
    """The gradient relies on it."""
    for source in range(2, 80):
        for target in range(1, source):
            for places in taps(source, target, align_corners)[:2]:
                assert (np.diff(places) > 0).all(), (source, target)


def test_bfloat16_is_resized_in_float32():
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 9, 2)), jnp.bfloat16)
    resized = resize_bilinear(maps, (13, 20), align_corners=True)
    assert resized.dtype == jnp.bfloat16
    exact = naive_resize(np.asarray(maps, np.float64), 13, 20, True)
    np.testing.assert_allclose(resized.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)


def test_cached_matrices_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        interpolation_matrix(3, 5, True)[0, 0] = 2.0
