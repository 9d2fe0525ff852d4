import jax.numpy as jnp
import pytest

from hfpl_jax.training.objective import Prediction, total_loss


def test_total_loss_is_the_weighted_sum():
    losses = {
        "classification": jnp.asarray(2.0),
        "equivariance": jnp.asarray(0.25),
        "noise": jnp.asarray(-1.0),
    }
    weights = {"classification": 0.5, "equivariance": jnp.asarray(4.0), "noise": 0.1}
    total = total_loss(Prediction(jnp.zeros((1, 1, 1, 1)), losses, weights))
    assert float(total) == pytest.approx(0.5 * 2.0 + 4.0 * 0.25 - 0.1)


@pytest.mark.parametrize(
    "losses", [{"classification": 1.0}, {"classification": 1.0, "extra": 2.0, "third": 3.0}]
)
def test_a_term_without_a_weight_and_a_weight_without_a_term_are_refused(losses):
    weights = {"classification": 1.0, "extra": 0.5}
    with pytest.raises(ValueError, match=r"the weights of \['classification', 'extra'\]"):
        total_loss(Prediction(jnp.zeros(()), losses, weights))
