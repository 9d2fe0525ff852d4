"""Files of the published programs for ResNet38 and the networks on it; torchvision's
are in test_pretrained.py.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from test_mxnet_params import encoded, file_of

from hfpl_jax.errors import InputError
from hfpl_jax.models.affinity_network import AffinityNetwork
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.backbones.resnet38 import MXNET, TORCH, ResNet38
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone, place_network
from hfpl_jax.models.seam_network import SeamNetwork
from hfpl_jax.models.segmentation_network import SegmentationNetwork
from hfpl_jax.models.weights.mxnet_params import read_mxnet_params
from hfpl_jax.models.weights.read import read_weights

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"


def abstract(network):
    return jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )


def narrow_shapes(names, width=2):
    """The published shapes with the backbone's channels scaled from 64 to `width`, by
    the published names.
    """
    published = json.loads((GOLDENS / names).read_text())

    def scaled(name, shape):
        def side(channels):
            return channels * width // 64

        if "_batches_" in name:
            return ()
        if name.startswith(
            ("fc8", "f8", "conv_fov.")
        ):  # heads read the backbone's channels and write their own
            return (shape[0], side(shape[1]), *shape[2:])
        if name.startswith(("f9", "conv_fov2", "bn_fov", "cls_conv")):
            return tuple(shape)
        if name.endswith("conv1a.weight"):
            return (side(shape[0]), *shape[1:])
        return (*map(side, shape[:2]), *shape[2:])

    return {name: scaled(name, shape) for name, shape in published.items()}


def random_arrays(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=shape).astype(np.float32) if shape else np.array(3, np.int64)
        for name, shape in shapes.items()
    }


def assert_all_filled(loaded, variables, arrays):
    """Every array of the file is found in the tree, and nothing else is."""
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    ours = sorted(float(np.asarray(leaf, np.float64).sum()) for leaf in jax.tree.leaves(loaded))
    theirs = sorted(
        float(array.astype(np.float64).sum()) for array in arrays.values() if array.ndim
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for leaf, wanted in zip(jax.tree.leaves(loaded), jax.tree.leaves(variables), strict=True):
        assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)


def test_mxnet_names_are_those_of_the_arrays_mxnet_wrote():
    arrays, expected = (
        read_mxnet_params(GOLDENS / "resnet38_tiny.params"),
        np.load(GOLDENS / "resnet38_tiny_expected.npz"),
    )
    paths = [
        "/".join(key.key for key in path[1:])
        for path, _ in jax.tree_util.tree_leaves_with_path(abstract(ResNet38(width=1)))
    ]
    torch = {path: TORCH.key(path) for path in paths}
    assert set(torch.values()) == set(expected.files)
    for path, name in torch.items():
        np.testing.assert_array_equal(arrays[MXNET.key(path)], expected[name], err_msg=path)


def test_published_names_are_ours():
    published = json.loads((GOLDENS / "resnet38_seam_names.json").read_text())
    paths = [
        "/".join(key.key for key in path[1:])
        for path, _ in jax.tree_util.tree_leaves_with_path(abstract(ResNet38()))
    ]
    heads = {"fc8.weight", "f8_3.weight", "f8_4.weight", "f9.weight"}
    assert {TORCH.key(path) for path in paths} == {
        name for name in published if "_batches_" not in name
    } - heads


def mxnet_file(path, arrays):
    paths = [
        "/".join(key.key for key in path[1:])
        for path, _ in jax.tree_util.tree_leaves_with_path(abstract(ResNet38(width=2)))
    ]
    names = {MXNET.key(each): arrays[TORCH.key(each)] for each in paths}
    names |= {
        "arg:linear1000_weight": np.ones((1000, 128), np.float32),
        "arg:data": np.ones(3, np.float32),
    }
    path.write_bytes(
        file_of(
            [encoded(array, "older") for array in names.values()], [name.encode() for name in names]
        )
    )


def test_imagenet_weights_of_mxnet_and_of_torch_fill_the_backbone_alike(tmp_path):
    arrays = random_arrays(narrow_shapes("resnet38_seam_names.json"))
    mxnet_file(tmp_path / "imagenet.params", arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "seam.safetensors")
    network = SeamNetwork(ResNet38(width=2), 20)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), abstract(network))
    first, second = (
        load_backbone(tmp_path / name, variables, network.backbone)
        for name in ("imagenet.params", "seam.safetensors")
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    block = first["params"]["backbone"]["b4_5"]
    np.testing.assert_array_equal(
        block["conv_branch2b1"]["kernel"],
        arrays["b4_5.conv_branch2b1.weight"].transpose(2, 3, 1, 0),
    )
    stats = first["batch_stats"]["backbone"]
    np.testing.assert_array_equal(
        stats["b7"]["bn_branch2b2"]["var"], arrays["b7.bn_branch2b2.running_var"]
    )
    for name in ("head", "reduce_conv4", "reduce_conv5", "embed"):
        np.testing.assert_array_equal(
            first["params"][name]["kernel"], variables["params"][name]["kernel"]
        )
    backbone = {name: array for name, array in arrays.items() if not name.startswith("f")}
    filled = {collection: tree["backbone"] for collection, tree in first.items()}
    assert_all_filled(filled, abstract(ResNet38(width=2)), backbone)


@pytest.mark.parametrize(
    ("names", "network"),
    [
        ("resnet38_seam_names.json", SeamNetwork(ResNet38(width=2), 20)),
        ("resnet38_aff_names.json", AffinityNetwork(ResNet38(width=2))),
        ("deeplabv1_names.json", SegmentationNetwork(ResNet38(width=2), 20)),
    ],
)
def test_whole_networks(tmp_path, names, network):
    arrays = random_arrays(narrow_shapes(names))
    np.savez(tmp_path / "weights.npz", **arrays)
    variables = abstract(network)
    loaded = place_network(read_weights(tmp_path / "weights.npz"), variables, network.backbone)
    if "fc8.weight" in arrays:  # the background's row is dropped
        np.testing.assert_array_equal(
            loaded["params"]["head"]["kernel"], arrays["fc8.weight"][1:, :, 0, 0].T
        )
        arrays["fc8.weight"] = arrays["fc8.weight"][1:]
    assert_all_filled(loaded, variables, arrays)


def test_head_without_background_row_is_taken_whole():
    shapes = narrow_shapes("resnet38_seam_names.json")
    arrays = random_arrays(
        {name: shape for name, shape in shapes.items() if not name.startswith(("f8", "f9"))}
    )
    arrays["fc8.weight"] = arrays["fc8.weight"][:20]
    loaded = place_network(arrays, abstract(CamNetwork(ResNet38(width=2), 20)), ResNet38())
    np.testing.assert_array_equal(
        loaded["params"]["head"]["kernel"], arrays["fc8.weight"][:, :, 0, 0].T
    )


def test_another_architecture_is_told_with_what_differs(tmp_path):
    mxnet_file(
        tmp_path / "imagenet.params", random_arrays(narrow_shapes("resnet38_seam_names.json"))
    )
    with pytest.raises(
        InputError, match=r"looks like resnet38\. .*config\.model\.backbone"
    ) as caught:
        load_backbone(tmp_path / "imagenet.params", abstract(ResNet(50)), ResNet(50))
    assert "missing: layer4.2.conv3.weight (2048, 512, 1, 1)" in str(caught.value)
    with pytest.raises(
        InputError,
        match=r"wrong shape: arg:res7a_branch1_weight is \(128, 64, 1, 1\), "
        r"the network has \(256, 128, 1, 1\)",
    ):
        load_backbone(tmp_path / "imagenet.params", abstract(ResNet38(width=4)), ResNet38())


def test_other_number_of_classes_and_unknown_arrays_are_told():
    arrays = random_arrays(narrow_shapes("resnet38_seam_names.json"))
    arrays["f10.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(InputError) as caught:
        place_network(
            arrays,
            abstract(SeamNetwork(ResNet38(width=2), 80)),
            ResNet38(),
            "The weight file x.npz",
        )
    message = str(caught.value)
    assert message.startswith("The weight file x.npz does not fit the network.")
    assert "wrong shape: fc8.weight is (21, 128, 1, 1), the network has (80, 128, 1, 1)" in message
    assert "unknown: f10.weight (1, 1, 1, 1)" in message
    assert "2 arrays differ" in message


def test_a_head_without_published_names_is_told():
    arrays = random_arrays(narrow_shapes("deeplabv1_names.json"))
    with pytest.raises(
        InputError, match=r"No public program has names for these arrays.*head/dilation12/bias"
    ):
        place_network(
            arrays, abstract(SegmentationNetwork(ResNet38(width=2), 20, "deeplab_v2")), ResNet38()
        )
