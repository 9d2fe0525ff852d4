"""Weights of the Hugging Face Hub, with a hub that is not there."""

import sys
import types

import numpy as np
import pytest
import safetensors.numpy

from hfpl_jax.errors import InputError
from hfpl_jax.models.weights.hub import local_file
from hfpl_jax.models.weights.read import read_weights


def install(monkeypatch, download):
    hub = types.ModuleType("huggingface_hub")
    hub.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)


def test_a_repository_is_its_file(monkeypatch, tmp_path):
    path, asked = tmp_path / "model.safetensors", []
    safetensors.numpy.save_file({"w": np.arange(3.0)}, path)
    install(monkeypatch, lambda *names: asked.append(names) or str(path))
    found = read_weights("hf://timm/resnet50.tv_in1k")
    np.testing.assert_array_equal(found["w"], np.arange(3.0))
    assert asked == [("timm/resnet50.tv_in1k", "model.safetensors")]


def test_other_names_are_files(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_file("~/model.safetensors") == tmp_path / "model.safetensors"


def offline(*names):
    raise OSError("no route to host\nTraceback of many lines")


@pytest.mark.parametrize("weights", ["hf://timm", "hf://timm/", "hf://timm/name/file"])
def test_what_is_no_repository_is_a_sentence(weights, monkeypatch):
    install(monkeypatch, offline)
    with pytest.raises(InputError, match=r"names no repository .*hf://timm/resnet50\.tv_in1k\."):
        local_file(weights)


def test_no_connection_is_a_sentence(monkeypatch):
    install(monkeypatch, offline)
    with pytest.raises(InputError, match=r"cannot be downloaded \(no route to host\)\. Look at"):
        local_file("hf://timm/vit_small_patch16_224.dino")


def test_a_missing_package_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"not installed\. Install it \(pip install hugg"):
        local_file("hf://timm/vit_small_patch16_224.dino")
