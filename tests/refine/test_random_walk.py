import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.affinity import check_walk, dense_pairs
from hfpl_jax.losses.affinity import map_radius, pair_affinities
from hfpl_jax.refine.random_walk import random_walk, stencil_affinities, upsample_walked, walk


def dense_matrix(features):
    """A of one map, [n, n] in float64, diagonal 1: every two pixels are looked at."""
    height, width, _ = features.shape
    features = features.reshape(height * width, -1).astype(np.float64)
    radius = map_radius(height, width)
    reach = radius - 1
    row, column = (index.ravel() for index in np.indices((height, width)))
    matrix = np.eye(height * width)
    for i in range(height * width):
        if row[i] + reach >= height or column[i] < reach or column[i] + reach >= width:
            continue  # no source
        for j in range(i + 1, height * width):
            if (row[j] - row[i]) ** 2 + (column[j] - column[i]) ** 2 < radius**2:
                matrix[i, j] = matrix[j, i] = np.exp(-np.mean(np.abs(features[i] - features[j])))
    return matrix


def walk_by_hand(features, scores, beta, logt):
    """Squares the dense matrix as the original does."""
    height, width, channels = scores.shape
    transition = dense_matrix(features) ** beta
    transition = transition / transition.sum(axis=0, keepdims=True)
    for _ in range(logt):
        transition = transition @ transition
    return (scores.reshape(-1, channels).astype(np.float64).T @ transition).T.reshape(
        height, width, channels
    )


def upsample_by_hand(scores, cell):
    height, width, _ = scores.shape

    def one_axis(values, side):
        coordinate = np.clip((np.arange(side * cell) + 0.5) / cell - 0.5, 0, side - 1)
        lower = np.floor(coordinate).astype(int)
        share = (coordinate - lower)[:, None, None]
        return (1 - share) * values[lower] + share * values[np.minimum(lower + 1, side - 1)]

    raised = one_axis(np.asarray(scores, np.float64), height)
    return one_axis(raised.swapaxes(0, 1), width).swapaxes(0, 1)


def random_inputs(size, channels=3, seed=0, features=4):
    """Features whose neighbours differ little: the walk goes far."""
    rng = np.random.default_rng(seed)
    return (0.2 * rng.normal(size=(*size, features))).astype(np.float32), rng.random(
        (*size, channels)
    ).astype(np.float32)


def padded_batch(sizes, shape, rubbish):
    rng = np.random.default_rng(5)
    singles = [random_inputs(size, seed=seed) for seed, size in enumerate(sizes)]
    batch = []
    for arrays in zip(*singles, strict=True):
        padded = (rubbish * rng.normal(size=(len(sizes), *shape, arrays[0].shape[-1]))).astype(
            np.float32
        )
        for whole, array in zip(padded, arrays, strict=True):
            whole[: array.shape[0], : array.shape[1]] = array
        batch.append(padded)
    return singles, *batch, np.array(sizes, np.int32)


jitted_walk = jax.jit(random_walk, static_argnames=("beta", "steps"))


def write_golden(path, *, size, cell=4, beta=8, logt=6):
    """A file of the golden's layout with affinities that are not small, computed by
    hand.
    """
    features, _ = random_inputs(size)
    cam = np.random.default_rng(1).random((21, size[0] * cell, size[1] * cell)).astype(np.float32)
    scores = cam.reshape(21, size[0], cell, size[1], cell).mean((2, 4)).transpose(1, 2, 0)
    walked = walk_by_hand(features, scores, beta, logt)
    np.savez(
        path / "affinity.npz",
        aff_pairs=np.asarray(pair_affinities(features[None])),
        aff_dense=dense_matrix(features).astype(np.float32),
        cam=cam,
        beta=beta,
        logt=logt,
        rw=walked.transpose(2, 0, 1)[None].astype(np.float32),
        rw_up=upsample_by_hand(walked, cell).transpose(2, 0, 1)[None].astype(np.float16),
    )


@pytest.mark.parametrize(
    "options", [{"size": (12, 10)}, {"size": (13, 16), "cell": 8, "beta": 4, "logt": 3}]
)
def test_check_of_affinities_that_are_not_small(tmp_path, options):
    """The published numbers were made with random weights, whose affinities are almost
    0: nothing walks there.
    """
    write_golden(tmp_path, **options)
    pairs, walked, raised = check_walk(tmp_path)
    assert pairs.error < 1e-6  # the matrix by hand is in float64
    assert walked.ok
    assert raised.ok
    with np.load(tmp_path / "affinity.npz") as golden:
        arrays = dict(golden) | {"logt": np.array(1)}
    np.savez(tmp_path / "affinity.npz", **arrays)
    assert not any(check.ok for check in check_walk(tmp_path)[1:])


@pytest.mark.parametrize("size", [(12, 15), (12, 10), (5, 5)])
def test_oracle(size):
    features, scores = random_inputs(size)
    result = jitted_walk(features[None], scores[None])
    assert result.dtype == jnp.float32
    expected = walk_by_hand(features, scores, 8, 6)
    assert np.abs(expected - scores).max() > 0.1
    np.testing.assert_allclose(result[0], expected, rtol=2e-5)


@pytest.mark.parametrize(("beta", "logt"), [(1, 0), (2, 3)])
def test_oracle_of_other_exponents(beta, logt):
    features, scores = random_inputs((11, 13))
    result = jitted_walk(features[None], scores[None], beta=beta, steps=2**logt)
    np.testing.assert_allclose(result[0], walk_by_hand(features, scores, beta, logt), rtol=2e-5)


@pytest.mark.parametrize("size", [(4, 30), (1, 1)])
def test_maps_without_pairs_stay(size):
    features, scores = random_inputs(size)
    np.testing.assert_array_equal(jitted_walk(features[None], scores[None])[0], scores)


@pytest.mark.parametrize("size", [(12, 15), (12, 10)])
def test_stencil_holds_the_pairs_of_the_loss(size):
    features, _ = random_inputs(size)
    stencil = np.asarray(jax.jit(stencil_affinities)(features[None])[0])
    pairs = np.asarray(pair_affinities(features[None])[0])
    assert np.count_nonzero(stencil) == pairs.size
    np.testing.assert_allclose(
        dense_pairs(pairs, *size) + np.eye(size[0] * size[1]), dense_matrix(features), rtol=1e-5
    )
    np.testing.assert_allclose(stencil[stencil > 0].sum(), pairs.sum(), rtol=1e-5)


SIZES = [(12, 15), (11, 9), (16, 16), (4, 16), (7, 12)]


@pytest.mark.parametrize("rubbish", [0.0, 1.0, np.nan])
def test_a_padded_batch_gives_what_each_gives_alone(rubbish):
    singles, features, scores, sizes = padded_batch(SIZES, (16, 16), rubbish)
    if np.isnan(rubbish):
        scores = np.nan_to_num(scores)  # the network may make anything of padding; scores are ours
    together = jitted_walk(features, scores, sizes)
    for i, (f, s) in enumerate(singles):
        height, width, _ = s.shape
        np.testing.assert_allclose(
            together[i, :height, :width], walk_by_hand(f, s, 8, 6), rtol=2e-5
        )
        np.testing.assert_array_equal(together[i, height:], scores[i, height:])


def test_strong_contours_hold():
    features = np.zeros((1, 12, 20, 8), np.float32)
    features[:, :, 10:] = 5.0
    scores = np.zeros((1, 12, 20, 2), np.float32)
    scores[:, 4:6, 6:8, 0] = 1.0
    walked = np.asarray(jitted_walk(features, scores))[0]
    assert walked[2:10, 4:10, 0].min() > 0.005  # spread on its own side
    assert walked[:, 10:].max() < 1e-9
    assert not walked[..., 1].any()


def test_flat_scores_are_fixed():
    features, _ = random_inputs((14, 12))
    walked = jitted_walk(features[None], np.full((1, 14, 12, 2), 0.3, np.float32))
    np.testing.assert_allclose(walked, 0.3, rtol=1e-5)


def test_upsampling_sees_nothing_of_the_padding():
    singles, _, scores, sizes = padded_batch(SIZES, (16, 16), 1.0)
    raised = jax.jit(upsample_walked)(scores, sizes)
    assert raised.shape == (5, 128, 128, 3)
    for i, (_, single) in enumerate(singles):
        height, width, _ = single.shape
        np.testing.assert_allclose(
            raised[i, : 8 * height, : 8 * width], upsample_by_hand(single, 8), atol=1e-6
        )


def test_channels_of_zeros_change_nothing():
    features, scores = random_inputs((12, 15))
    more = np.concatenate([scores, np.zeros_like(scores)], axis=-1)
    fewer, walked = (
        np.asarray(jitted_walk(features[None], array[None])) for array in (scores, more)
    )
    np.testing.assert_allclose(walked[..., :3], fewer, rtol=1e-6)
    assert not walked[..., 3:].any()


def test_sharded_over_devices():
    features, scores = (
        np.stack(arrays)
        for arrays in zip(*(random_inputs((11, 9), seed=seed) for seed in range(8)), strict=True)
    )
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    walked = jitted_walk(jax.device_put(features, spread), jax.device_put(scores, spread))
    assert walked.sharding.is_equivalent_to(spread, walked.ndim)
    np.testing.assert_allclose(walked, jitted_walk(features, scores), rtol=1e-5)


def test_no_dense_matrix():
    h, w, k, c = 47, 63, 448, 21
    shapes = [jax.ShapeDtypeStruct((1, h, w, channels), jnp.float32) for channels in (k, c)]
    memory = jitted_walk.lower(*shapes).compile().memory_analysis()
    if memory is None:
        pytest.skip("This backend does not tell its memory.")
    assert memory.temp_size_in_bytes < 4 * (h * w) ** 2


def test_bfloat16_features():
    features, scores = random_inputs((11, 12))
    features = jnp.asarray(features, jnp.bfloat16)
    result = jitted_walk(features[None], scores[None])
    expected = walk_by_hand(np.asarray(features.astype(jnp.float32)), scores, 8, 6)
    np.testing.assert_allclose(result[0], expected, rtol=2e-5)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_walk(self):
        features, scores = random_inputs((5, 7))
        affinities = stencil_affinities(features[None])
        result = self.variant(lambda a, s: walk(a, s, steps=4))(affinities, scores[None])
        np.testing.assert_allclose(result[0], walk_by_hand(features, scores, 8, 2), rtol=1e-5)
