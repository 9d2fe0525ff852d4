"""Where the parameters of a training come from, and what it does not need."""

import functools
import json

import grain
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import NUM_CLASSES, batch, network, variables

from hfpl_jax.build import build_network, initial_variables, variable_shapes
from hfpl_jax.defaults import default_config
from hfpl_jax.methods.cam import Cam
from hfpl_jax.training import fit as fit_module
from hfpl_jax.training.fit import Fit, fit
from hfpl_jax.training.metric_log import read_rows

NETWORK = network()


class Crop(grain.transforms.RandomMap):
    def random_map(self, element, rng):
        return {name: array[element] for name, array in batch(0).items()}


def settings(**fields):
    return ConfigDict(
        {
            "learning_rate": 0.0,
            "optimizer": "sgd",
            "sgd": {"momentum": 0.9, "nesterov": False},
            "schedule": "poly",
            "poly": {"power": 0.9},
            "weight_decay": 0.0,
            "clip": 0.0,
            "skip_above": 0.0,
            "no_decay": (),
            "multipliers": (),
            "freeze": (),
            "batch_size": 8,
            "epochs": 1,
            "init_from": "",
        }
        | fields
    )


RUN = ConfigDict(
    {
        "num_workers": 0,
        "checkpoint_every": 1,
        "keep_checkpoints": 2,
        "shard_parameters": False,
        "log_every": 1,
    }
)


def trained(folder, start, **fields):
    """The parameters after a training whose learning rate is 0: those of its start."""
    folder.mkdir(parents=True, exist_ok=True)
    job = Fit(
        network=NETWORK,
        objective=Cam(),
        variables=start,
        shapes=lambda: jax.eval_shape(lambda: variables(NETWORK)),
        source=range(8),
        transform=Crop(),
        section="train",
        settings=settings(**fields),
    )
    fit(job, folder, seed=0, run=RUN)
    return [row["loss"] for row in read_rows(folder)]


def of_seed(seed):
    return lambda shardings: variables(NETWORK, seed)


def gone(shardings):
    raise AssertionError("the file to start from was asked for")


def test_a_training_goes_on_without_what_it_started_from(tmp_path):
    first = trained(tmp_path, of_seed(1))
    assert len(first) == 1
    both = trained(tmp_path, gone, epochs=2)
    assert both == pytest.approx(first * 2, rel=1e-5)  # the same parameters, the same batch


def test_one_that_starts_from_another_run_needs_no_file(tmp_path):
    expected = trained(tmp_path / "other" / "train" / "0123", of_seed(5))
    assert expected != pytest.approx(trained(tmp_path / "own", of_seed(6)), rel=1e-3)
    (tmp_path / "other" / "train" / "wanted.json").write_text(json.dumps({"fingerprint": "0123"}))
    for folder in ("other/train", "other/train/0123"):
        found = trained(tmp_path / "from" / folder, gone, init_from=str(tmp_path / folder))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_training_starts_from_the_same_numbers_wherever_they_are_made(
    monkeypatch, tmp_path, sharded
):
    """Of a network of the library, from random numbers: bit for bit those that one device
    makes, in parts from the first where they are divided.
    """
    config = default_config()
    config.model.update({"backbone": "resnet18", "weights": "random"})
    config.model.resnet.width = 16
    config.seed = 7
    net = build_network(config, NUM_CLASSES)
    image = np.zeros((1, 64, 64, 3), np.float32)
    expected = jax.device_get(jax.jit(net.init)(jax.random.key(7), image))
    started = []

    def kept(state, *_, **__):
        started.append(state)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "train", kept)
    job = Fit(
        network=net,
        objective=Cam(),
        variables=functools.partial(initial_variables, config, net, None),
        shapes=functools.partial(variable_shapes, net),
        source=range(8),
        transform=Crop(),
        section="train",
        settings=settings(),
    )
    run = ConfigDict(RUN.to_dict() | {"shard_parameters": sharded})
    with pytest.raises(KeyboardInterrupt):
        fit(job, tmp_path, seed=0, run=run)
    [state] = started
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), expected["params"])
    kernel = state.params["backbone"]["layer4"]["block1"]["conv2"]["kernel"]
    [part] = {shard.data.size for shard in kernel.addressable_shards}
    assert part == (kernel.size // 8 if sharded else kernel.size)
    [momentum] = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == kernel.shape][
        :1
    ]
    assert momentum.sharding == kernel.sharding
