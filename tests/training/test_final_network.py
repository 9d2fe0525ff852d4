"""The final network's training on any mesh, killed and resumed."""

import jax
import numpy as np
import pytest
from tiny import Backbone, batch, mesh_of, variables

from hfpl_jax.models.segmentation_network import SegmentationNetwork
from hfpl_jax.runtime.sharding import put_batch, replicated
from hfpl_jax.training.objectives.pixel_losses import Lal
from hfpl_jax.training.objectives.segmentation import Segmentation
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.schedule import Poly
from hfpl_jax.training.step import make_train_step, new_state

CLASSES, STEPS = 2, 3


class Trained:
    """The OCR head with the locally adaptive loss, on some devices."""

    def __init__(self, devices):
        network = SegmentationNetwork(Backbone(), CLASSES, "ocr", batch_norm_momentum=0.1)
        objective, schedule = Segmentation(Lal(window=3)), Poly().of_steps(0.05, STEPS)
        optimizer = make_optimizer(Sgd(0.9), schedule, weight_decay=0.0, multipliers=())
        self.mesh = mesh_of(devices)
        self.state = jax.device_get(new_state(variables(network), optimizer, (), objective))
        self.step = make_train_step(
            network, objective, optimizer, schedule, steps=STEPS, freeze=(), mesh=self.mesh
        )

    def run(self, state, steps):
        state, losses = jax.device_put(state, replicated(self.mesh)), []
        key = jax.device_put(jax.random.key(3), replicated(self.mesh))
        for step in steps:
            arrays = batch(step)
            side = arrays["image"].shape[1]
            labels = np.random.default_rng(step).choice([0, 1, 2, 255], (8, side, side))
            arrays["labels"] = labels.astype(np.uint8)
            state, metrics = self.step(state, put_batch(self.mesh, arrays), key)
            losses.append({name: float(metrics[name]) for name in ("lal", "auxiliary", "loss")})
        return jax.device_get(state), losses


def test_any_mesh_trains_as_one_device_and_a_killed_training_goes_on():
    one, eight = Trained(1), Trained(8)
    expected, losses = one.run(one.state, range(STEPS))
    for row in losses:
        assert row["loss"] == pytest.approx(row["lal"] + 0.4 * row["auxiliary"], rel=1e-5)
    found, on_eight = eight.run(eight.state, range(STEPS))
    for row, other in zip(losses, on_eight, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(expected.params),
        jax.tree.leaves(found.params),
        strict=True,
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(other, leaf, rtol=1e-3, atol=1e-4, err_msg=name)
    half, _ = one.run(one.state, range(2))
    resumed, _ = one.run(half, range(2, STEPS))
    jax.tree.map(np.testing.assert_array_equal, resumed.params, expected.params)
    jax.tree.map(np.testing.assert_array_equal, resumed.batch_stats, expected.batch_stats)
