import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.affinity import check_labels
from hfpl_jax.errors import InputError
from hfpl_jax.losses.affinity import (
    affinity_loss,
    affinity_terms,
    half_plane_offsets,
    map_radius,
    pair_affinities,
    pair_masks,
)

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"


def pairs_by_hand(height, width):
    """Every pair as (source, target), found by testing all pixels: offset after offset,
    sources row by row.
    """
    radius = map_radius(height, width)
    offsets = [
        (dy, dx)
        for dy in range(radius)
        for dx in range(-radius, radius + 1)
        if (dy > 0 or dx > 0) and dx**2 + dy**2 < radius**2
    ]
    reach = radius - 1
    sources = [
        (y, x)
        for y in range(height)
        for x in range(width)
        if y + reach < height and reach <= x < width - reach
    ]
    return [[((y, x), (y + dy, x + dx)) for y, x in sources] for dy, dx in offsets]


def affinities_by_hand(features):
    features = np.asarray(features, np.float64)
    pairs = pairs_by_hand(*features.shape[1:3])
    return np.array(
        [
            [[np.exp(-np.mean(np.abs(f[i] - f[j]))) for i, j in row] for row in pairs]
            for f in features
        ]
    )


def loss_by_hand(affinities, label_maps):
    logs = {"background": [], "foreground": [], "negative": []}
    for affinity, labels in zip(np.asarray(affinities, np.float64), label_maps, strict=True):
        for a_row, row in zip(affinity, pairs_by_hand(*labels.shape), strict=True):
            for a, (i, j) in zip(a_row, row, strict=True):
                if labels[i] == 255 or labels[j] == 255:
                    continue
                if labels[i] != labels[j]:
                    logs["negative"].append(-np.log(1 + 1e-5 - a))
                else:
                    logs["background" if labels[i] == 0 else "foreground"].append(-np.log(a + 1e-5))
    return {kind: np.mean(values) if values else 0.0 for kind, values in logs.items()}


def random_inputs(shape=(2, 12, 13, 6), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.choice(
        np.array([0, 0, 1, 1, 7, 255], np.uint8), shape[:3]
    )


@jax.jit
@jax.value_and_grad
def loss_and_slope(features, label_maps):
    return affinity_loss(pair_affinities(features), label_maps)


def test_published_program_is_not_met_by_other_labels(tmp_path):
    with np.load(GOLDENS / "affinity_labels.npz") as golden:
        arrays = dict(golden)
    arrays["label"] = np.roll(arrays["label"], 1, axis=0)
    np.savez(tmp_path / "affinity_labels.npz", **arrays)
    assert not any(check.ok for check in check_labels(tmp_path))


def test_offsets():
    assert half_plane_offsets(2) == ((0, 1), (1, -1), (1, 0), (1, 1))
    offsets = half_plane_offsets(5)
    assert len(offsets) == 34
    assert offsets[:5] == ((0, 1), (0, 2), (0, 3), (0, 4), (1, -4))
    whole = {(0, 0), *offsets, *((-dy, -dx) for dy, dx in offsets)}
    assert whole == {(dy, dx) for dy in range(-9, 10) for dx in range(-9, 10) if dy**2 + dx**2 < 25}
    assert half_plane_offsets(1) == ()


@pytest.mark.parametrize(
    ("size", "radius"),
    [
        ((56, 56), 5),
        ((11, 40), 5),
        ((40, 10), 4),
        ((9, 9), 4),
        ((8, 9), 3),
        ((5, 70), 2),
        ((4, 9), 1),
    ],
)
def test_radius_shrinks_on_small_maps(size, radius):
    assert map_radius(*size) == radius


@pytest.mark.parametrize(
    "shape", [(2, 12, 13, 6), (1, 11, 11, 3), (2, 6, 9, 4), (1, 5, 8, 1), (1, 20, 10, 2)]
)
def test_affinities_of_all_pairs(shape):
    features, _ = random_inputs(shape)
    expected = affinities_by_hand(features)
    affinities = jax.jit(pair_affinities)(features)
    assert affinities.dtype == jnp.float32
    np.testing.assert_allclose(affinities, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 12, 13), (1, 7, 6)])
def test_masks_of_all_pairs(shape):
    _, labels = random_inputs((*shape, 1))
    masks = jax.jit(pair_masks)(labels)
    for i in range(shape[0]):
        for row, kinds in zip(
            pairs_by_hand(*shape[1:]), np.stack([mask[i] for mask in masks], -1), strict=True
        ):
            for (p, q), kind in zip(row, kinds, strict=True):
                first, second = labels[i][p], labels[i][q]
                known = first != 255 and second != 255
                assert kind.tolist() == [
                    known and first == second == 0,
                    known and first == second and first != 0,
                    known and first != second,
                ]


def test_terms_and_loss():
    features, labels = random_inputs()
    affinities = pair_affinities(features)
    expected = loss_by_hand(affinities, labels)
    terms = jax.jit(affinity_terms)(affinities, labels)
    for kind, value in expected.items():
        assert value > 0
        assert float(getattr(terms, kind)) == pytest.approx(value, rel=1e-5)
    total = expected["background"] / 4 + expected["foreground"] / 4 + expected["negative"] / 2
    assert float(affinity_loss(affinities, labels)) == pytest.approx(total, rel=1e-5)


def test_counts_run_over_the_batch():
    features, labels = random_inputs()
    labels[0, 2:] = 255  # few pairs in one image, many in the other
    affinities = pair_affinities(features)
    together = float(affinity_loss(affinities, labels))
    alone = [float(affinity_loss(affinities[i : i + 1], labels[i : i + 1])) for i in range(2)]
    expected = loss_by_hand(affinities, labels)
    assert together == pytest.approx(
        expected["background"] / 4 + expected["foreground"] / 4 + expected["negative"] / 2, rel=1e-5
    )
    assert together != pytest.approx(np.mean(alone), rel=1e-3)


def test_gradient_by_differences():
    features, labels = (array[:1, :7, :8] for array in random_inputs())
    with jax.enable_x64(True):
        features = features.astype(np.float64)
        value, slope = loss_and_slope(features, labels)
        assert value.dtype == jnp.float64
        rng = np.random.default_rng(1)
        for _ in range(3):
            direction = 1e-6 * rng.normal(size=features.shape)
            above, below = (
                float(loss_and_slope(features + sign * direction, labels)[0]) for sign in (1, -1)
            )
            assert (above - below) / 2 == pytest.approx(float(np.sum(slope * direction)), rel=1e-4)


MAPS = {
    "all ignored": np.full((2, 12, 13), 255, np.uint8),
    "all background": np.zeros((2, 12, 13), np.uint8),
    "one class": np.full((2, 12, 13), 3, np.uint8),
    "two classes": np.indices((2, 12, 13))[2].astype(np.uint8) // 7 + 1,
    "single pixel": np.where(np.arange(312).reshape(2, 12, 13) == 45, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_finite_gradients_where_kinds_are_missing(name, scale):
    features = (
        scale * random_inputs()[0]
    )  # equal features: affinity 1; far ones: it underflows to 0
    value, slope = loss_and_slope(features, MAPS[name])
    assert np.isfinite(float(value))
    assert np.isfinite(slope).all()
    if name in ("all ignored", "single pixel"):
        assert float(value) == 0.0
        assert not np.any(slope)


def test_bfloat16_is_computed_in_float32():
    features, labels = random_inputs()
    features = jnp.asarray(features, jnp.bfloat16)
    affinities = pair_affinities(features)
    np.testing.assert_allclose(
        affinities, affinities_by_hand(features.astype(jnp.float32)), rtol=1e-5
    )
    value, slope = loss_and_slope(features, labels)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16


def test_training_needs_little_memory():
    """The size of a training batch, not run: one offset's differences live at a
    time.
    """
    features = jax.ShapeDtypeStruct((2, 56, 56, 448), jnp.float32)
    memory = (
        loss_and_slope.lower(features, jax.ShapeDtypeStruct((2, 56, 56), jnp.uint8))
        .compile()
        .memory_analysis()
    )
    if memory is None:
        pytest.skip("This backend does not tell its memory.")
    assert memory.temp_size_in_bytes < 5 * (
        2 * 56 * 56 * 448 * 4
    )  # the signs of all 34 offsets' differences: 9 times the features


def test_sharded_over_devices():
    features, labels = random_inputs((8, 7, 8, 3))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    value, slope = loss_and_slope(features, labels)
    spread_value, spread_slope = loss_and_slope(
        jax.device_put(features, spread), jax.device_put(labels, spread)
    )
    assert float(spread_value) == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose(spread_slope, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("side", [1, 4])
def test_too_small_maps_are_told(side):
    features, labels = np.zeros((1, side, 9, 2), np.float32), np.zeros((1, side, 9), np.uint8)
    with pytest.raises(InputError, match="larger crops"):
        pair_affinities(features)
    with pytest.raises(InputError, match="larger crops"):
        pair_masks(labels)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value(self):
        features, labels = random_inputs((1, 7, 9, 3))
        expected = loss_by_hand(affinities_by_hand(features), labels)
        value = self.variant(lambda f, y: affinity_loss(pair_affinities(f), y))(features, labels)
        assert float(value) == pytest.approx(
            expected["background"] / 4 + expected["foreground"] / 4 + expected["negative"] / 2,
            rel=1e-5,
        )
