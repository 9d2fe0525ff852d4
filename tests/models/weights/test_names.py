"""A backbone's tables say where an array of a file goes, and what it becomes."""

import types

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.weights.names import DENSE, TORCH_LEAVES, Layer, Names

LAYERS = {
    "dense": Layer("blocks.0.fc", kernel=DENSE),
    "point": Layer("point"),
    "window": Layer("window", "norm"),
}
VARIABLES = {
    "params": {
        "dense": {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)},
        "point": {"kernel": np.zeros((3, 2), np.float32)},
        "window": {"kernel": np.zeros((5, 7, 3, 2), np.float32), "scale": np.zeros(2, np.float32)},
    }
}
SHAPES = {
    "blocks.0.fc.weight": (2, 3),
    "blocks.0.fc.bias": (2,),
    "point.weight": (2, 3, 1, 1),
    "window.weight": (2, 3, 5, 7),
    "norm.weight": (2,),
}


def backbone(*tables):
    return types.SimpleNamespace(weight_names=tables)


def arrays():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def load(tmp_path, arrays, *tables):
    np.savez(tmp_path / "a.npz", **arrays)
    return load_backbone(tmp_path / "a.npz", VARIABLES, backbone(*tables))["params"]


def test_dense_layers_and_convolutions(tmp_path):
    theirs = arrays()
    ours = load(tmp_path, theirs, Names(LAYERS))
    np.testing.assert_array_equal(ours["dense"]["kernel"], theirs["blocks.0.fc.weight"].T)
    np.testing.assert_array_equal(ours["dense"]["bias"], theirs["blocks.0.fc.bias"])
    np.testing.assert_array_equal(ours["point"]["kernel"], theirs["point.weight"][:, :, 0, 0].T)
    window = np.einsum("oihw->hwio", theirs["window.weight"])
    np.testing.assert_array_equal(ours["window"]["kernel"], window)
    np.testing.assert_array_equal(ours["window"]["scale"], theirs["norm.weight"])


def test_a_layer_of_the_other_kind_is_told(tmp_path):
    theirs = arrays()
    theirs["point.weight"] = theirs["point.weight"][:, :, 0, 0]
    theirs["blocks.0.fc.weight"] = theirs["blocks.0.fc.weight"][:, :, None, None]
    with pytest.raises(InputError, match="2 arrays differ") as told:
        load(tmp_path, theirs, Names(LAYERS))
    assert "wrong shape: point.weight is (2, 3), the network has (2, 3, 1, 1)" in str(told.value)
    assert "blocks.0.fc.weight is (2, 3, 1, 1), the network has (2, 3)" in str(told.value)


def test_the_table_that_finds_most_in_the_file_is_taken(tmp_path):
    other = Names(LAYERS, {leaf: f"other:{name}" for leaf, name in TORCH_LEAVES.items()})
    for prefix in ("", "other:"):
        theirs = {prefix + name: array for name, array in arrays().items()}
        ours = load(tmp_path, theirs, Names(LAYERS), other)
        np.testing.assert_array_equal(ours["dense"]["bias"], theirs[f"{prefix}blocks.0.fc.bias"])


def test_a_backbone_without_weight_files(tmp_path):
    with pytest.raises(
        InputError,
        match=r"No weight file is known for this backbone\. Set config\.model\.weights to 'random'",
    ):
        load(tmp_path, arrays())
