import re
import time
import types

import jax
import jax.numpy as jnp
import pytest

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.runtime import observation


def slow_items(count, seconds=0.0):
    for number in range(count):
        time.sleep(seconds)
        yield number


def test_compilation_and_waiting_are_counted_for_one_stage():
    with observation.observed(None):
        assert list(observation.waited_for(slow_items(4, 0.3))) == [0, 1, 2, 3]
        for number in range(3):  # different programs
            jax.jit(lambda x, number=number: jnp.sin(x) + number)(1.0)
    assert "waiting for data 0:01" in observation.summary()
    assert observation._seconds["compiling"] > 0
    assert "GB at most" in observation.summary()
    with observation.observed(None):
        assert observation._seconds == {"compiling": 0.0, "waiting": 0.0}


@pytest.mark.parametrize(("platform", "peak"), [("linux", 2_048_000), ("darwin", 2_000)])
def test_peak_memory_is_counted_in_kilobytes_or_in_bytes(monkeypatch, platform, peak):
    monkeypatch.setattr(observation.sys, "platform", platform)
    usage = types.SimpleNamespace(ru_maxrss=2_000)
    monkeypatch.setattr(observation.resource, "getrusage", lambda who: usage)
    assert observation._peak_memory() == peak


@pytest.mark.parametrize("count", [6, 30])
def test_steps_of_the_first_loop_are_traced(tmp_path, count):
    with observation.observed(tmp_path / "trace"):
        for number in observation.waited_for(slow_items(count)):
            jnp.asarray(number).block_until_ready()
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    assert list((tmp_path / "trace").rglob("perfetto_trace.json.gz"))


def test_a_loop_too_short_for_a_trace(tmp_path):
    with observation.observed(tmp_path / "trace"):
        assert list(observation.waited_for(slow_items(2))) == [0, 1]
    assert not (tmp_path / "trace").exists()


def test_an_unknown_stage_to_trace(tmp_path):
    config = default_config()
    config.model.weights = "random"
    config.profile = "trian"
    with pytest.raises(InputError, match=r"config\.profile = 'trian' is no stage\. Choose .*train"):
        pipeline.run(config, tmp_path)


def test_a_dry_run_says_what_the_training_takes(tmp_path):
    config = default_config()
    config.data.options = {"train_size": 8, "val_size": 1, "size": 48}
    config.model.update({"backbone": "resnet18", "weights": "random"})
    config.model.resnet.width = 16
    config.train.update({"batch_size": 8, "crop_size": 48, "resize_long": (48, 64), "epochs": 3})
    text = pipeline.dry_run(config, tmp_path)
    parameters, steps, work, memory = text.splitlines()
    total, trained = re.fullmatch(
        r"([\d,]+) parameters, ([\d,]+) of them trained", parameters
    ).groups()
    assert total == trained  # nothing is frozen, as the weights are random
    assert steps == "3 steps of 8 images, 1 a device on 8 devices"
    assert float(work.split()[0]) > 0.1
    assert float(memory.split()[0]) > 1
    assert not (tmp_path / "train").exists()
