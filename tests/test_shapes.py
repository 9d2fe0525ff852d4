import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from hfpl_jax.losses import add_background, feature_similarity_loss, gap_loss


def test_channels_first_images_are_refused():
    with pytest.raises(TypeCheckError):
        feature_similarity_loss(jnp.zeros((2, 3, 8, 8)), jnp.zeros((2, 8, 8, 5)))


def test_sizes_must_agree_between_arguments_also_under_jit():
    with pytest.raises(TypeCheckError):
        jax.jit(gap_loss)(jnp.zeros((2, 8, 8, 5)), jnp.zeros((2, 6)))


def test_integers_are_no_logits():
    with pytest.raises(TypeCheckError):
        gap_loss(jnp.zeros((2, 8, 8, 5), jnp.int32), jnp.zeros((2, 5)))


def test_sums_in_annotations():
    assert add_background(jnp.zeros((1, 2, 2, 5))).shape == (1, 2, 2, 6)
