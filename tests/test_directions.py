import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.directions import softened_directions, unit_vectors


def test_vectors_that_point_nowhere_become_nothing():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [3e-13, 4e-13], [3e-6, 4e-6]], np.float32)
    expected = [[0.6, 0.8], [0.0, 0.0], [0.0, 0.0], [0.6, 0.8]]
    np.testing.assert_allclose(unit_vectors(vectors), expected, rtol=1e-6)
    slope = jax.grad(lambda vectors: jnp.sum(unit_vectors(vectors)[..., 0]))(vectors)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[0], [0.128, -0.096], rtol=1e-5)
    np.testing.assert_array_equal(slope[1:3], 0.0)
    np.testing.assert_array_equal(unit_vectors(vectors, shortest=1e-5)[3], 0.0)


def test_a_short_vector_is_shortened_and_one_of_0_has_a_gradient():
    vectors = np.array([[3.0, 4.0], [3e-5, 4e-5], [0.0, 0.0]], np.float32)
    expected = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(softened_directions(vectors), expected, rtol=1e-6)
    slope = jax.grad(lambda vectors: jnp.sum(softened_directions(vectors)[..., 0]))(vectors)
    np.testing.assert_allclose(slope[2], [1e5, 0.0], rtol=1e-6)
    assert np.isfinite(slope).all()
