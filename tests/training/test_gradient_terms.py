import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fake_stages import note_runs
from tiny import batch, network, variables

from experiments.gradient_terms import gradient_norms, heaviest_maps, training_folder
from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.losses import gap_loss
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.sharding import put_batch, replicated
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.schedule import Poly
from hfpl_jax.training.step import make_train_step, new_state


def test_the_training_is_that_of_the_configuration_not_of_the_latest_command(monkeypatch, tmp_path):
    note_runs(monkeypatch)
    config = default_config()
    config.data.options = {"train_size": 2, "val_size": 1, "size": 48}
    config.model.update({"weights": "random", "backbone": "resnet18"})
    folders = {}
    for rate in (0.1, 0.2):
        config.train.learning_rate = rate
        pipeline.run(config, tmp_path, ["data", "train"])
        folders[rate] = result_folder(tmp_path / "train")
    for rate, folder in folders.items():
        config.train.learning_rate = rate
        assert training_folder(pipeline.run(config, tmp_path, ["data"])) == folder
    assert folders[0.1] != folders[0.2]


def test_norms_are_those_of_each_weighted_term():
    net, data, key = network(), jax.tree.map(jnp.asarray, batch(0)), jax.random.key(0)
    start = variables(net)

    def pooled(params):
        state = {"params": params, "batch_stats": start["batch_stats"]}
        return gap_loss(net.apply(state, normalize(data["image"], data["valid"])).logits, labels)

    labels = data["labels"]
    plain = float(optax.global_norm(jax.jit(jax.grad(pooled))(start["params"])))
    job = types.SimpleNamespace(network=net, objective=Cam(), freeze=())
    assert gradient_norms(job, start, data, key) == {"classification": pytest.approx(plain)}
    job.objective = Hfpl(Cam(), isl_weight=0.25, fsl_weight=2.0, sigma=2.0)
    norms = gradient_norms(job, start, data, key)
    assert norms["classification, pooled"] == pytest.approx(0.75 * plain, rel=1e-5)
    parts = norms["classification, pooled"] + norms["classification, sampled"]
    assert 0 < norms["classification"] <= parts * (1 + 1e-5)
    job.objective = Hfpl(Cam(), isl_weight=0.0, fsl_weight=1.0, sigma=2.0)
    once = gradient_norms(job, start, data, key)
    assert norms["feature_similarity"] == pytest.approx(2 * once["feature_similarity"], rel=1e-5)


def test_the_norm_is_that_of_the_training_step(trainer):
    """With its pixels drawn and without what is frozen: of one term it is the whole."""
    state, key = trainer.new_state(), trainer.key
    start = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
    alone = Hfpl(Cam(), isl_weight=0.5, fsl_weight=0.0, num_samples=2)
    mesh, schedule = trainer.mesh, Poly().of_steps(0.1, 10)
    optimizer = make_optimizer(Sgd(), schedule, weight_decay=0.0, multipliers=())
    frozen = ("layer1_norm/",)
    job = types.SimpleNamespace(network=network(), objective=alone, freeze=frozen)
    step = make_train_step(
        job.network, alone, optimizer, schedule, steps=10, freeze=frozen, mesh=mesh
    )
    state = jax.device_put(new_state(start, optimizer, frozen, alone), replicated(mesh))
    state = state.replace(step=jax.device_put(np.int32(3), state.step.sharding))
    _, metrics = step(state, put_batch(mesh, batch(3)), key)
    norms = gradient_norms(
        job, start, jax.tree.map(jnp.asarray, batch(3)), jax.random.fold_in(key, 3)
    )
    expected = pytest.approx(float(metrics["gradient_norm"]), rel=1e-4)
    assert norms["classification"] == expected


def test_the_map_whose_peak_is_next_to_nothing_is_the_heaviest():
    rng = np.random.default_rng(0)
    logits = rng.uniform(0, 4, (2, 6, 6, 3)).astype(np.float32)
    logits[1, ..., 2] = -1.0
    logits[1, 2, 3, 2] = 1e-4
    labels = jnp.asarray([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    images = jnp.asarray(rng.normal(size=(2, 24, 24, 3)), jnp.float32)
    method = Hfpl(Cam(), isl_weight=0.0, fsl_weight=1.0, sigma=2.0)
    maps = heaviest_maps(method, images, jnp.asarray(logits), labels)
    assert [(image, label) for _, image, label, _ in maps[:1]] == [(1, 2)]
    assert {(image, label) for _, image, label, _ in maps} == {(0, 0), (0, 1), (1, 0), (1, 2)}
    assert maps[0][3] == pytest.approx(1e-4)
    assert maps[0][0] > 100 * maps[1][0]
