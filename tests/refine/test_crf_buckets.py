import crf_oracle as oracle
import jax
import numpy as np
import pytest

from hfpl_jax.refine import PUBLISHED_CRF, dense_crf, exact_mean_field
from hfpl_jax.refine.crf_buckets import Bucket, bucket_mean_field, bucket_of
from hfpl_jax.refine.crf_exact import KEY_PIXELS


def padded(image, probabilities, bucket, garbage=0):
    """Arguments of `bucket_mean_field`, whatever stands in the padding."""
    height, width, labels = probabilities.shape
    images = np.full((1, bucket.side, bucket.side, 3), garbage, np.uint8)
    scores = np.full((1, bucket.side, bucket.side, bucket.labels), garbage / 255, np.float32)
    valid = np.zeros((1, bucket.side, bucket.side), bool)
    images[0, :height, :width] = image
    scores[0, :height, :width, :labels] = probabilities
    valid[0, :height, :width] = True
    return images, scores, valid, np.int32(labels)


def test_few_compilations_for_many_sizes():
    """One for each bucket, whose list of pixels is shorter than its square or as long."""
    random = np.random.default_rng(0)
    buckets = set()
    bucket_mean_field.clear_cache()
    for index in range(12):
        height, width = random.integers(3, [21, 50]).tolist()
        labels = int(random.integers(2, 8))
        image, probabilities = oracle.example(height, width, labels, seed=index)
        marginals = dense_crf(image, probabilities, settings=PUBLISHED_CRF, algorithm="exact")
        expected = oracle.dense_crf(image, probabilities)
        np.testing.assert_allclose(marginals, expected, atol=1e-5)
        buckets.add(bucket_of(height, width, labels))
    assert buckets == {Bucket(side, 1024, labels) for side in (32, 64) for labels in (5, 9)}
    assert bucket_mean_field._cache_size() == len(buckets)


@pytest.mark.parametrize("shape", [(20, 50, 3), (33, 31, 2), (12, 14, 5), (60, 64, 6)])
def test_as_without_padding(shape):
    image, probabilities = oracle.example(*shape)
    bucketed = dense_crf(image, probabilities, settings=PUBLISHED_CRF, algorithm="exact")
    alone = jax.jit(exact_mean_field, static_argnames="settings")(
        image[None], probabilities[None], np.ones((1, *shape[:2]), bool), settings=PUBLISHED_CRF
    )
    np.testing.assert_allclose(bucketed, alone[0], atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 50, 3), (12, 14, 2)])
def test_what_stands_in_the_padding_changes_no_bit(shape):
    image, probabilities = oracle.example(*shape)
    bucket = bucket_of(*shape)
    zeros, garbage = (
        np.asarray(
            bucket_mean_field(
                *padded(image, probabilities, bucket, filled),
                settings=PUBLISHED_CRF,
                pixels=bucket.pixels,
            )
        )[0]
        for filled in (0, 201)
    )
    height, width, labels = shape
    np.testing.assert_array_equal(garbage, zeros)
    assert not zeros[height:].any()
    assert not zeros[:, width:].any()
    assert not zeros[..., labels:].any()
    np.testing.assert_allclose(zeros[:height, :width].sum(axis=-1), 1.0, atol=1e-6)
    bucketed = dense_crf(image, probabilities, settings=PUBLISHED_CRF, algorithm="exact")
    np.testing.assert_array_equal(bucketed, zeros[:height, :width, :labels])


def test_buckets_are_few_and_near():
    """The bounds that the file states, over all sizes of a grid."""
    found = set()
    for height in range(1, 513, 7):
        for width in range(1, 513, 7):
            bucket = bucket_of(height, width, 2)
            n = height * width
            assert bucket.side >= max(height, width)
            assert n <= bucket.pixels <= bucket.side**2
            # No more than the tiles that it is computed in.
            assert bucket.pixels <= max(1024, 2 * n)
            assert bucket.pixels <= -(-n // KEY_PIXELS) * KEY_PIXELS
            found.add(bucket)
    assert len(found) <= 55
    assert len({bucket.pixels for bucket in found}) == 35
    for side in range(512, 4096, 37):
        for other in (side, side * 3 // 4):
            bucket = bucket_of(side, other, 2)
            assert side * other <= bucket.pixels <= min(bucket.side**2, side * other * 17 / 16 + 1)
            assert bucket.pixels % KEY_PIXELS == 0


def test_upright_and_lying_photographs_share_buckets():
    assert bucket_of(375, 500, 2) == bucket_of(500, 375, 5) == Bucket(512, 188416, 5)
    assert bucket_of(375, 500, 6) == Bucket(512, 188416, 9)
    assert bucket_of(375, 500, 21).labels == 21
    assert bucket_of(480, 640, 81) == Bucket(768, 311296, 81)
