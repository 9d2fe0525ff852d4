"""Which features are kept, and how."""

import jax.numpy as jnp
import numpy as np
from staged_backbone import Stages

from hfpl_jax.models.frozen_features import FrozenFeatures, projection, widths


def test_a_projection_is_orthonormal_and_the_same_for_everybody():
    matrix = projection(12, 5)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(5), atol=1e-6)
    drawn = np.random.default_rng((12, 5)).standard_normal((12, 5))
    upper = matrix.T.astype(np.float64) @ drawn  # R of the decomposition
    np.testing.assert_allclose(np.tril(upper, -1), 0, atol=1e-6)
    assert (np.diag(upper) > 0).all()


def test_what_is_kept_is_projected_and_rounded():
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(2, 3, 4, 12)).astype(np.float32) for name in "abc"}
    whole = FrozenFeatures(("c", "a"), 0, 64).of(features)
    assert list(whole) == ["c", "a"]
    for name, kept in whole.items():
        np.testing.assert_array_equal(kept, features[name].astype(np.float16))
    [projected] = FrozenFeatures(("b",), 5, 64).of(features).values()
    expected = features["b"].astype(np.float64) @ projection(12, 5)
    np.testing.assert_allclose(projected, expected, rtol=2e-3, atol=1e-3)
    assert projected.dtype == jnp.float16


def test_what_half_precision_cannot_hold_is_its_largest_number():
    [kept] = FrozenFeatures(("a",), 0, 64).of({"a": jnp.array([[[[-1e6, 1e6]]]])}).values()
    np.testing.assert_array_equal(kept.ravel(), [-65504, 65504])
    [kept] = (
        FrozenFeatures(("a",), 0, 64).of({"a": jnp.full((1, 1, 1, 1), 1e6, jnp.bfloat16)}).values()
    )
    assert np.isfinite(kept).all()


def test_widths_of_features():
    assert widths(Stages()) == {"stem": 4, "layer1": 6, "layer2": 8, "layer3": 10, "layer4": 12}
    kept = FrozenFeatures(("layer4", "layer2"), 0, 64)
    assert kept.kept_widths(Stages()) == {"layer4": 12, "layer2": 8}
    assert FrozenFeatures(("layer4", "layer2"), 3, 64).kept_widths(Stages()) == {
        "layer4": 3,
        "layer2": 3,
    }
