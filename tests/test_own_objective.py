"""An objective of one's own is a class, here this one: two networks, an average of one of
them as teacher, the outputs of the step before, a labelled and an unlabelled source. The
library's `fit` trains it as NumPy does in float64.
"""

import dataclasses
import itertools
from typing import ClassVar

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from hfpl_jax.data.sources import Source, joint_stream
from hfpl_jax.errors import InputError
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.runtime.sharding import put_batch, replicated
from hfpl_jax.training import fit as fit_module
from hfpl_jax.training import loop
from hfpl_jax.training.fit import Fit, fit
from hfpl_jax.training.leaps import WINDOW
from hfpl_jax.training.metric_log import read_rows
from hfpl_jax.training.objective import Objective, Prediction
from hfpl_jax.training.optimizer import Sgd, make_optimizer
from hfpl_jax.training.step import make_train_step, new_state

CLASSES, LABELLED, UNLABELLED, SIDE = 2, 8, 16, 6
RATE, MOMENTUM, DECAY, EPOCHS = 0.3, 0.9, 0.01, 2
NETWORKS = ("student", "second")


class Scores(nn.Module):
    """The image's mean colour times a matrix."""

    @nn.compact
    def __call__(self, images):
        return nn.Dense(CLASSES, use_bias=False)(images.mean((1, 2)))


class Pair(nn.Module):
    """Two networks in one parent."""

    def setup(self):
        self.student, self.second = Scores(), Scores()

    def __call__(self, images):
        return self.student(images), self.second(images)

    def one(self, images, name):
        return getattr(self, name)(images)


@dataclasses.dataclass(frozen=True)
class Teaching(Objective):
    """Both networks learn the labels; the student's average teaches the second one on
    unlabelled images; the student stays near its last outputs.
    """

    decay: float = 0.6
    weights: ClassVar = {"supervised": 1.0, "stay": 0.5}

    def predict(self, apply, batch, key):
        one, other = apply(batch.images)
        unlabelled = batch.beside["unlabelled"]
        assert unlabelled.labels.shape == (UNLABELLED, 0)
        taught = apply(unlabelled.images, method="one", name="second")
        teacher = apply(
            unlabelled.images, params=batch.carried["average"], method="one", name="student"
        )
        losses = {
            "supervised": jnp.mean((one - batch.labels) ** 2 + (other - batch.labels) ** 2),
            "taught": jnp.mean((taught - teacher) ** 2),
            "stay": jnp.mean((one - batch.carried["last"]) ** 2),
        }
        return Prediction(one, losses, {**self.weights, "taught": 1.0 + batch.progress})

    def first_carried(self, params):
        return {"average": params, "last": jnp.zeros((LABELLED, CLASSES))}

    def next_carried(self, carried, params, prediction, progress):
        decay = self.decay + (1.0 - self.decay) * progress
        average = jax.tree.map(
            lambda old, new: decay * old + (1.0 - decay) * new, carried["average"], params
        )
        return {"average": average, "last": prediction.logits}


class Crop(grain.transforms.RandomMap):
    """A number -> an image of that number and, for a labelled source, labels."""

    def __init__(self, labelled):
        self.labelled = labelled

    def random_map(self, number, rng):
        made = np.random.default_rng([number, self.labelled])
        image = made.integers(0, 256, (SIDE, SIDE, 3)) // rng.integers(1, 3)
        crop = {
            "image": image.astype(np.uint8),
            "valid": np.ones((SIDE, SIDE), bool),
        }
        labels = made.normal(size=CLASSES).astype(np.float32)
        return crop | ({"labels": labels} if self.labelled else {})


FIELD = "config.train.unlabelled_batch_size"
SOURCE = Source(range(24), Crop(True), LABELLED, "config.train.batch_size")
BESIDE = {"unlabelled": Source(range(100, 120), Crop(False), UNLABELLED, FIELD)}
STEPS = 24 // LABELLED * EPOCHS
SETTINGS = ConfigDict(
    {
        "learning_rate": RATE,
        "optimizer": "sgd",
        "sgd": {"momentum": MOMENTUM, "nesterov": False},
        "schedule": "poly",
        "poly": {"power": 0.9},
        "weight_decay": DECAY,
        "no_decay": (),
        "multipliers": (("^second/", 2.0),),
        "clip": 0.0,
        "skip_above": 0.0,
        "batch_size": LABELLED,
        "epochs": EPOCHS,
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


def start():
    return jax.jit(Pair().init)(jax.random.key(5), jnp.zeros((1, SIDE, SIDE, 3)))


def mesh_of(count):
    return Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))


@pytest.fixture
def trained(monkeypatch):
    """`trained(folder, devices)` -> the rows of the log and the last state."""
    states = []

    def kept(*arguments, **options):
        states.append(jax.device_get(loop.train(*arguments, **options)))

    def run(folder, devices=8, beside=BESIDE):
        folder.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(fit_module, "train", kept)
            if devices < 8:
                patch.setattr(fit_module, "data_mesh", lambda *_, **__: mesh_of(devices))
            job = Fit(
                network=Pair(),
                objective=Teaching(),
                variables=lambda shardings: start(),
                shapes=lambda: jax.eval_shape(start),
                source=SOURCE.elements,
                transform=SOURCE.transform,
                section="train",
                settings=SETTINGS,
                beside=beside,
            )
            assert fit(job, folder, seed=3, run=RUN)["steps"] == STEPS
        return read_rows(folder), states[-1]

    return run


def by_hand():
    """Loss terms of every step, then the two matrices, the average and the last outputs,
    by the chain rule in float64.
    """
    params = {
        name: np.asarray(start()["params"][name]["Dense_0"]["kernel"], np.float64)
        for name in NETWORKS
    }
    velocity = dict.fromkeys(NETWORKS, 0.0)
    average, last, rows = params["student"], np.zeros((LABELLED, CLASSES)), []
    stream = joint_stream(SOURCE, BESIDE, seed=3)

    def colour(batch):
        pixels = (batch["image"] / 255.0 - np.float64(IMAGENET_MEAN)) / np.float64(IMAGENET_STD)
        return pixels.mean((1, 2))

    for step, batch in enumerate(itertools.islice(stream, STEPS)):
        x, u, y = colour(batch), colour(batch["beside"]["unlabelled"]), batch["labels"]
        one, other = x @ params["student"], x @ params["second"]
        away = u @ params["second"] - u @ average
        ramp = 1.0 + step / STEPS
        rows.append(
            {
                "supervised": np.mean((one - y) ** 2 + (other - y) ** 2),
                "taught": np.mean(away**2),
                "stay": np.mean((one - last) ** 2),
            }
        )
        rows[-1]["loss"] = sum(
            factor * rows[-1][name]
            for name, factor in {"supervised": 1.0, "taught": ramp, "stay": 0.5}.items()
        )
        gradients = {
            "student": x.T @ ((one - y) + 0.5 * (one - last)) * 2 / one.size,
            "second": x.T @ (other - y) * 2 / one.size + ramp * u.T @ away * 2 / away.size,
        }
        rate = RATE * (1 - step / STEPS) ** 0.9
        for name, factor in zip(NETWORKS, (1.0, 2.0), strict=True):
            decayed = gradients[name] + DECAY * params[name]
            velocity[name] = MOMENTUM * velocity[name] + decayed
            params[name] = params[name] - rate * factor * velocity[name]
        kept = 0.6 + 0.4 * step / STEPS
        average = kept * average + (1 - kept) * params["student"]
        last = one
    stream.close()
    return rows, params, average, last


@pytest.mark.parametrize("devices", [1, 8])
def test_fit_trains_it_as_numpy_does(trained, tmp_path, devices):
    rows, state = trained(tmp_path / "run", devices)
    expected, params, average, last = by_hand()
    for row, terms in zip(rows, expected, strict=True):
        assert {name: row[name] for name in terms} == pytest.approx(terms, rel=1e-5)
    carried = state.carried["average"]["student"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(carried, average, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.carried["last"], last, rtol=1e-4, atol=1e-6)
    for name in NETWORKS:
        found = state.params[name]["Dense_0"]["kernel"]
        np.testing.assert_allclose(found, params[name], rtol=1e-4, atol=1e-6)
    assert np.abs(params["student"] - average).max() > 0.05  # or the test would not see it


def test_killed_and_resumed_it_ends_as_undisturbed(trained, tmp_path, monkeypatch):
    """To the last bit, the average and the kept outputs too."""
    rows, state = trained(tmp_path / "undisturbed")
    calls = itertools.count(1)

    def killed(mesh, batch):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return put_batch(mesh, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed")
    assert [row["step"] for row in read_rows(tmp_path / "killed")] == [1, 2]
    again, resumed = trained(tmp_path / "killed")
    assert again == rows
    jax.tree.map(np.testing.assert_array_equal, resumed, state)


def test_a_skipped_step_leaves_what_is_carried():
    mesh, objective = mesh_of(8), Teaching()
    optimizer = make_optimizer(Sgd(), lambda _: RATE, weight_decay=0.0, multipliers=())
    step = make_train_step(
        Pair(),
        objective,
        optimizer,
        lambda _: RATE,
        steps=STEPS,
        freeze=(),
        mesh=mesh,
        skip_above=5.0,
    )
    state = new_state(start(), optimizer, (), objective)
    state = state.replace(norms=jnp.full(WINDOW, 1e-6), step=jnp.asarray(2, jnp.int32))
    before = jax.device_get(state)
    stream = joint_stream(SOURCE, BESIDE, seed=3)
    batch, key = put_batch(mesh, next(stream)), jax.random.key(0)
    stream.close()
    state, metrics = step(*jax.device_put((state,), replicated(mesh)), batch, key)
    assert metrics["skipped_steps"] == 1
    jax.tree.map(np.testing.assert_array_equal, state.carried, before.carried)


def test_a_batch_that_does_not_divide_is_told_with_its_field(trained, tmp_path):
    odd = {"unlabelled": dataclasses.replace(BESIDE["unlabelled"], batch_size=12)}
    with pytest.raises(InputError, match=rf"{FIELD} = 12 does not divide into 8 devices"):
        trained(tmp_path / "run", beside=odd)
