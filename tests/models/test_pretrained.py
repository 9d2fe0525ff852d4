import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.weights.read import read_weights

# Written out by hand from torchvision's module definitions, so that a slip in the table
# of names cannot hide.
TORCHVISION = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
}


def torchvision_shapes(depth):
    kind, counts = TORCHVISION[depth]
    shapes = {"fc.weight": (1000, 512 if kind == "basic" else 2048), "fc.bias": (1000,)}

    def add(conv, norm, out, into, size):
        shapes[f"{conv}.weight"] = (out, into, size, size)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{name}"] = (out,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", 64, 3, 7)
    width = 64
    for layer, count in enumerate(counts, start=1):
        planes = 64 * 2 ** (layer - 1)
        for block in range(count):
            name = f"layer{layer}.{block}"
            if kind == "basic":
                out, convs = planes, [(planes, width, 3), (planes, planes, 3)]
            else:
                out, convs = (
                    planes * 4,
                    [(planes, width, 1), (planes, planes, 3), (planes * 4, planes, 1)],
                )
            for index, conv in enumerate(convs, start=1):
                add(f"{name}.conv{index}", f"{name}.bn{index}", *conv)
            if block == 0 and (layer > 1 or kind == "bottleneck"):
                add(f"{name}.downsample.0", f"{name}.downsample.1", out, width, 1)
            width = out
    return shapes


def torchvision_arrays(depth, dtype=np.float16):
    rng = np.random.default_rng(depth)
    return {
        name: np.array(7, np.int64)
        if name.endswith("tracked")
        else rng.random(shape, np.float32).astype(dtype)
        for name, shape in torchvision_shapes(depth).items()
    }


def abstract(network):
    return jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_torchvision_file_of_every_depth(tmp_path, depth):
    arrays = torchvision_arrays(depth)
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    variables = abstract(CamNetwork(ResNet(depth), num_classes=3))
    loaded = load_backbone(tmp_path / "weights.safetensors", variables, ResNet(depth))
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    params, stats = loaded["params"]["backbone"], loaded["batch_stats"]["backbone"]
    conv = "conv3" if depth >= 50 else "conv2"
    last = f"layer4.2.{conv.replace('conv', 'bn')}" if depth != 18 else "layer4.1.bn2"
    block = params["layer4"]["block1" if depth == 18 else "block2"]
    np.testing.assert_array_equal(
        params["stem"]["kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0).astype(np.float32)
    )
    np.testing.assert_array_equal(block[conv]["scale"], arrays[f"{last}.weight"].astype(np.float32))
    np.testing.assert_array_equal(
        params["layer2"]["block0"]["downsample"]["bias"],
        arrays["layer2.0.downsample.1.bias"].astype(np.float32),
    )
    np.testing.assert_array_equal(
        stats["layer3"]["block1"]["conv1"]["mean"],
        arrays["layer3.1.bn1.running_mean"].astype(np.float32),
    )
    np.testing.assert_array_equal(
        stats["layer3"]["block1"]["conv1"]["var"],
        arrays["layer3.1.bn1.running_var"].astype(np.float32),
    )
    for ours, wanted in zip(jax.tree.leaves(loaded), jax.tree.leaves(variables), strict=True):
        assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)


def test_npz_backbone_alone_head_kept_and_param_dtype(tmp_path):
    arrays = torchvision_arrays(18, np.float32)
    np.savez(
        tmp_path / "weights.npz",
        **{name: array for name, array in arrays.items() if not name.startswith("fc.")},
    )
    backbone = load_backbone(tmp_path / "weights.npz", abstract(ResNet(18)), ResNet(18))
    np.testing.assert_array_equal(backbone["params"]["stem"]["scale"], arrays["bn1.weight"])

    network = CamNetwork(ResNet(18, param_dtype=jnp.bfloat16), num_classes=3)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    loaded = load_backbone(tmp_path / "weights.npz", variables, ResNet(18))
    np.testing.assert_array_equal(
        loaded["params"]["head"]["kernel"], variables["params"]["head"]["kernel"]
    )
    assert loaded["params"]["backbone"]["stem"]["kernel"].dtype == jnp.bfloat16
    assert loaded["batch_stats"]["backbone"]["stem"]["mean"].dtype == np.float32


def test_bfloat16_file(tmp_path):
    safetensors.numpy.save_file(
        torchvision_arrays(18, jnp.bfloat16), tmp_path / "weights.safetensors"
    )
    loaded = load_backbone(tmp_path / "weights.safetensors", abstract(ResNet(18)), ResNet(18))
    kernel = loaded["params"]["stem"]["kernel"]
    np.testing.assert_array_equal(
        kernel,
        torchvision_arrays(18, jnp.bfloat16)["conv1.weight"]
        .transpose(2, 3, 1, 0)
        .astype(np.float32),
    )


def test_every_unfit_key_is_in_one_error(tmp_path):
    arrays = torchvision_arrays(18, np.float32)
    del arrays["bn1.bias"], arrays["layer4.1.conv2.weight"]
    arrays["layer9.0.conv1.weight"] = np.zeros((2, 2), np.float32)
    arrays["head.weight"] = np.zeros((2, 2), np.float32)
    arrays["layer1.0.conv1.weight"] = np.zeros((64, 3, 3, 64), np.float32)
    arrays["layer1.0.bn1.running_var"][5] = np.inf
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as caught:
        load_backbone(
            tmp_path / "weights.safetensors",
            abstract(CamNetwork(ResNet(18), num_classes=3)),
            ResNet(18),
        )
    message = str(caught.value)
    assert "6 arrays differ" in message
    assert str(tmp_path / "weights.safetensors") in message
    for line in (
        "missing: bn1.bias (64,)",
        "missing: layer4.1.conv2.weight (512, 512, 3, 3)",
        "unknown: layer9.0.conv1.weight (2, 2)",
        "unknown: head.weight (2, 2)",
        "wrong shape: layer1.0.conv1.weight is (64, 3, 3, 64), the network has (64, 64, 3, 3)",
        "not finite: layer1.0.bn1.running_var",
    ):
        assert line in message


def test_another_depth_is_recognised(tmp_path):
    safetensors.numpy.save_file(torchvision_arrays(34), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"looks like resnet34\. .*config\.model\.backbone"):
        load_backbone(tmp_path / "weights.safetensors", abstract(ResNet(50)), ResNet(50))


def test_a_file_of_a_transformer_is_recognised(tmp_path):
    arrays = {"blocks.0.attn.qkv.weight": np.zeros((9, 3), np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    with pytest.raises(
        InputError,
        match=r"weights\.safetensors does not fit the backbone\. It looks like a vision "
        r"transformer\. Choose the file and config\.model\.backbone that belong together\.",
    ):
        load_backbone(tmp_path / "weights.safetensors", abstract(ResNet(18)), ResNet(18))


def test_absent_file(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(InputError, match=r"does not exist.*config\.model\.weights"):
            read_weights(path)


def test_file_of_another_kind(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"torch")
    with pytest.raises(
        InputError, match=r"neither .safetensors nor .npz.*safetensors\.torch\.save_file"
    ):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_truncated_file(tmp_path, suffix, keep):
    path = tmp_path / f"weights.{suffix}"
    arrays = {"a": np.arange(1000.0), "b": np.arange(1000.0)}
    safetensors.numpy.save_file(arrays, path) if suffix == "safetensors" else np.savez(
        path, **arrays
    )
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(path)


def test_python_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(InputError, match=r"cannot be read .*holds Python objects"):
        read_weights(tmp_path / "weights.npz")


def test_npz_that_is_one_array(tmp_path):
    with open(tmp_path / "weights.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="not a zip file"):
        read_weights(tmp_path / "weights.npz")
