import chex
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from hfpl_jax.models.padded_resize import (
    extent,
    mirror_padded,
    resize_padded,
    shrink_padded,
)
from hfpl_jax.resize import resize_bilinear


def test_extent_is_the_ceiling():
    np.testing.assert_array_equal(extent(np.array([[1, 8], [9, 16]]), 8), [[1, 1], [2, 2]])
    np.testing.assert_array_equal(extent(np.array([[7, 13]]), 1), [[7, 13]])


class ResizePaddedTest(chex.TestCase, parameterized.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(True, False)
    def test_each_image_as_if_alone(self, align_corners):
        maps = np.random.default_rng(0).normal(size=(4, 40, 33, 3)).astype(np.float32)
        source = np.array([[40, 33], [37, 21], [1, 5], [2, 1]])
        target = np.array([[9, 7], [5, 7], [1, 4], [3, 1]])
        resized = self.variant(
            lambda maps, source, target: resize_padded(
                maps, (9, 7), source, target, align_corners=align_corners
            )
        )(maps, source, target)
        for index, ((h, w), (height, width)) in enumerate(zip(source, target, strict=True)):
            alone = resize_bilinear(
                maps[index : index + 1, :h, :w],
                (int(height), int(width)),
                align_corners=align_corners,
            )
            np.testing.assert_allclose(
                resized[index, :height, :width], alone[0], rtol=1e-5, atol=1e-5
            )
            last = resized[index, height - 1 : height, :width]
            np.testing.assert_array_equal(
                resized[index, height:, :width], np.repeat(last, 9 - height, 0)
            )

    @chex.variants(with_jit=True, without_jit=True)
    def test_enlarging_reads_nothing_behind_the_image(self):
        maps = np.full((1, 6, 6, 1), 1e30, np.float32)
        maps[:, :3, :4] = np.arange(12.0).reshape(3, 4, 1)
        resized = self.variant(
            lambda maps: resize_padded(maps, (20, 20), jnp.array([[3, 4]]), jnp.array([[17, 9]]))
        )(maps)
        alone = resize_bilinear(maps[:, :3, :4], (17, 9), align_corners=True)
        np.testing.assert_allclose(resized[:, :17, :9], alone, rtol=1e-5, atol=1e-5)
        assert float(resized.max()) == pytest.approx(11.0)


def test_long_sides_are_as_exact_as_on_the_host():
    ramp = np.arange(4000.0, dtype=np.float32)[None, :, None, None]
    size = (997, 1)
    padded = resize_padded(ramp, size, np.array([[3999, 1]]), np.array([[997, 1]]))
    alone = resize_bilinear(ramp[:, :3999], size, align_corners=True)
    np.testing.assert_allclose(padded, alone, rtol=2e-7)


def test_without_sizes_it_is_the_plain_resize_and_keeps_the_dtype():
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)), jnp.bfloat16)
    resized = resize_padded(maps, (3, 9), None, None)
    assert resized.dtype == jnp.bfloat16
    np.testing.assert_array_equal(resized, resize_bilinear(maps, (3, 9), align_corners=True))


def test_each_image_is_mirrored_in_its_own_columns():
    maps = np.random.default_rng(0).normal(size=(3, 2, 5, 2)).astype(np.float32)
    mirrored = mirror_padded(maps, np.array([5, 3, 1], np.int32))
    for index, columns in enumerate((5, 3, 1)):
        np.testing.assert_array_equal(
            mirrored[index, :, :columns], maps[index, :, :columns][:, ::-1]
        )


def test_shrinking_gives_means_over_areas():
    """5 rows become 2 of two and a half, 4 columns 2 of two; another image stays."""
    maps = np.full((2, 6, 5, 1), 1e6, np.float32)
    maps[0, :5, :4, 0] = np.arange(20.0).reshape(5, 4)
    maps[1, :2, :2, 0] = [[0.1, 0.7], [0.2, 0.3]]
    source, target = np.array([[5, 4], [2, 2]]), np.array([[2, 2], [2, 2]])
    small = shrink_padded(maps, (3, 2), source, target)[..., 0]
    columns = maps[0, :5, :4, 0].reshape(5, 2, 2).mean(axis=2)
    rows = [columns[:2].sum(axis=0) + columns[2] / 2, columns[2] / 2 + columns[3:].sum(axis=0)]
    np.testing.assert_allclose(small[0], [*(np.array(rows) / 2.5), [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(small[1], [*maps[1, :2, :2, 0], [0, 0]])


def test_a_side_that_ends_inside_a_pixel():
    """Two and a half pixels become one and a quarter, the last of half a pixel alone."""
    maps = np.array([3.0, 5.0, 8.0, 1e6], np.float32)[None, :, None, None]
    small = shrink_padded(maps, (2, 1), np.array([[2.5, 1.0]]), np.array([[1.25, 1.0]]))
    np.testing.assert_allclose(small[0, :, 0, 0], [4.0, 8.0], rtol=1e-6)
