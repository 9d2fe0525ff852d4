"""Co-training and CycleGAN's semi-supervision through the library's `fit`: several
networks and histories on any mesh, killed and resumed.
"""

import itertools

import grain
import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict
from small_final import CLASSES, ROWS, SIDE, make, variables_of

from hfpl_jax.data.sources import Source
from hfpl_jax.runtime.sharding import put_batch
from hfpl_jax.training import fit as fit_module
from hfpl_jax.training import loop
from hfpl_jax.training.fit import Fit, fit
from hfpl_jax.training.metric_log import read_rows
from hfpl_jax.training.objectives import OBJECTIVES

STEPS = 6
MADE = {
    "cotraining": OBJECTIVES["cotraining"](diversity=0.5, diversity_ramp=(0.0, 0.5)),
    "cycle": OBJECTIVES["cycle"](width=2, blocks=1, history=12, crop_size=SIDE),
}
SETTINGS = ConfigDict(
    {
        "learning_rate": 0.1,
        "optimizer": "sgd",
        "sgd": {"momentum": 0.9, "nesterov": False},
        "schedule": "poly",
        "poly": {"power": 0.9},
        "weight_decay": 0.01,
        "no_decay": (),
        "multipliers": (("^Dense_0/", 2.0),),
        "clip": 5.0,
        "skip_above": 20.0,
        "batch_size": ROWS,
        "epochs": STEPS // 2,
        "init_from": "",
    }
)
RUN = ConfigDict(
    {
        "num_workers": 0,
        "checkpoint_every": 2,
        "keep_checkpoints": 2,
        "shard_parameters": False,
        "log_every": 1,
    }
)


class Crop(grain.transforms.RandomMap):
    def __init__(self, labelled):
        self.labelled = labelled

    def random_map(self, number, rng):
        image = rng.integers(0, 256, (SIDE, SIDE, 3)) // (1 + number % 3)
        crop = {"image": image.astype(np.uint8), "valid": np.ones((SIDE, SIDE), bool)}
        labels = rng.choice([*range(CLASSES + 1), 255], (SIDE, SIDE)).astype(np.uint8)
        return crop | ({"labels": labels} if self.labelled else {})


def mesh_of(count):
    return Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))


@pytest.fixture
def trained(monkeypatch):
    """`trained(folder, name, devices)` -> the rows of the log and the last state."""
    states = []

    def kept(*arguments, **options):
        states.append(jax.device_get(loop.train(*arguments, **options)))

    def run(folder, name, devices=8):
        folder.mkdir(exist_ok=True)
        objective = MADE[name]
        network = objective.network(make)
        sources = {"labelled": (range(16), Crop(True)), "unlabelled": (range(50, 70), Crop(False))}
        with monkeypatch.context() as patch:
            patch.setattr(fit_module, "train", kept)
            if devices < 8:
                patch.setattr(fit_module, "data_mesh", lambda *_, **__: mesh_of(devices))
            job = Fit(
                network=network,
                objective=objective,
                variables=lambda shardings: variables_of(network),
                shapes=lambda: jax.eval_shape(lambda: variables_of(network)),
                source=sources["labelled"][0],
                transform=sources["labelled"][1],
                section="segmentation",
                settings=SETTINGS,
                beside={
                    name: Source(*sources[name], ROWS, "config.segmentation.batch_size")
                    for name in objective.beside
                },
            )
            assert fit(job, folder, seed=3, run=RUN)["steps"] == STEPS
        return read_rows(folder), states[-1]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_any_mesh_and_any_kill_give_the_same(name, trained, tmp_path, monkeypatch):
    """One device as eight, to float rounding; resumed as undisturbed, to the last bit."""
    network = MADE[name].network(make)
    rows, state = trained(tmp_path / "undisturbed", name)
    assert len(rows) == STEPS
    assert [row["skipped_steps"] for row in rows] == [0.0] * STEPS
    alone, lone = trained(tmp_path / "alone", name, devices=1)
    for row, other in zip(rows, alone, strict=True):
        assert other == pytest.approx(row, rel=2e-3, abs=1e-5)
    # Not the discriminators' own: what instances are normalised behind has biases without
    # gradients, of which Adam makes steps of the rounding's sign.
    for name_of in network.members:
        found, expected = (each.params[name_of] for each in (lone, state))
        jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, 1e-2, 2e-3), found, expected)
    found, expected = ((each.batch_stats, each.carried) for each in (lone, state))
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, 1e-2, 2e-3), found, expected)

    calls = itertools.count(1)

    def killed(mesh, batch):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return put_batch(mesh, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed", name)
    again, resumed = trained(tmp_path / "killed", name)
    assert again == rows
    jax.tree.map(np.testing.assert_array_equal, resumed, state)
    if name == "cycle":
        assert state.carried["image"].filled == 12  # no more, however many were made
        assert {len(leaf) for leaf in jax.tree.leaves(state.carried["mask"].kept)} == {12}
