"""Weight files: arrays of numbers or a clear error; nothing is unpickled, and nothing
is allocated that the file cannot fill.
"""

import io
import json
import pickle
import struct
import zipfile
import zlib

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from mutations import Trap, contained, damaged, fuzz, outcome, replaced

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.backbones.resnet38 import ResNet38
from hfpl_jax.models.pretrained import load_backbone, place_network
from hfpl_jax.models.weights.npz import read_npz
from hfpl_jax.models.weights.read import read_weights

ARRAYS = {
    "conv1.weight": np.random.default_rng(0).normal(size=(4, 3, 7, 7)).astype(np.float32),
    **{
        f"bn1.{name}": np.ones(4, np.float16)
        for name in ("weight", "bias", "running_mean", "running_var")
    },
    "bn1.num_batches_tracked": np.array(7),
}
CHANNELS = {"scale": np.zeros(4, np.float32), "bias": np.zeros(4, np.float32)}
STEM = {
    "params": {"stem": {"kernel": np.zeros((7, 7, 3, 4), np.float32), **CHANNELS}},
    "batch_stats": {"stem": {"mean": np.zeros(4, np.float32), "var": np.zeros(4, np.float32)}},
}
"""As much of a ResNet as a test needs."""


def npz(arrays, save=np.savez):
    data = io.BytesIO()
    save(data, **arrays)
    return data.getvalue()


def safe(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def params(arrays):
    """MXNet's format, in its second version."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        content += (
            struct.pack(f"<IiI{array.ndim}q3i", 0xF993FAC9, 0, array.ndim, *array.shape, 1, 0, 0)
            + array.astype("<f4").tobytes()
        )
    content += struct.pack("<Q", len(arrays))
    return content + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)


MXNET = {
    "arg:conv1a_weight": np.ones((4, 3, 3, 3), np.float32),
    "arg:fc_bias": np.ones(9, np.float32),
}
WHOLE = {
    "safetensors": safetensors.numpy.save(
        ARRAYS | {"bn1.bias": ARRAYS["bn1.bias"].astype(ml_dtypes.bfloat16)}
    ),
    "npz": npz(ARRAYS),
    "compressed": npz(ARRAYS, np.savez_compressed),
    "params": params(MXNET),
}


def loaded(tmp_path, kind, data):
    path = tmp_path / f"weights.{'npz' if kind == 'compressed' else kind}"
    path.write_bytes(data)
    variables, backbone = STEM, ResNet()
    if kind == "params":
        variables = {"params": {"conv1a": {"kernel": np.zeros((3, 3, 3, 4), np.float32)}}}
        backbone = ResNet38()
    result = outcome(path, load_backbone, path, variables, backbone)
    if not isinstance(result, str):
        assert jax.tree.map(np.shape, result) == jax.tree.map(np.shape, variables)
        assert all(
            leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(result)
        )
    return result


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files(tmp_path, kind):
    assert isinstance(loaded(tmp_path, kind, WHOLE[kind]), dict)


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_files(tmp_path, kind):
    @fuzz(80)
    @given(damaged(WHOLE[kind], front=600))
    def run(data):
        loaded(tmp_path, kind, data)

    run()


HEADER = json.loads(WHOLE["safetensors"][8 : 8 + struct.unpack("<Q", WHOLE["safetensors"][:8])[0]])


@fuzz(80)
@given(
    replaced(
        HEADER,
        values=(
            None,
            -1,
            2**40,
            2**63,
            0.5,
            "",
            "F64",
            "U8",
            "BOOL",
            "F8_E4M3",
            "C64",
            [],
            [0, 2**60],
            [2**62] * 2,
            {},
        ),
    )
)
def test_damaged_safetensors_headers(tmp_path, header):
    loaded(tmp_path, "safetensors", safe(header, WHOLE["safetensors"][-3000:]))


def npy(header, body=b"", version=1):
    text = (header if isinstance(header, bytes) else header.encode()).ljust(117) + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
        + body
    )


def described(descr="'<f4'", shape="(2,)", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def archive(content, name="conv1.weight.npy", method=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as file:
        file.writestr(name, content)
    return data.getvalue()


def lying_archive(content, megabytes):
    """A deflated member behind whose content come so many megabytes of zeros, of which
    the directory says nothing.
    """
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += (
        megabytes * (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH))
        + packer.flush()
    )
    name, sizes = b"a.npy", struct.pack("<III", zlib.crc32(content), len(packed), len(content))
    local = (
        struct.pack("<IHHHHH", 0x04034B50, 20, 0, 8, 0, 0)
        + sizes
        + struct.pack("<HH", len(name), 0)
        + name
        + packed
    )
    entry = (
        struct.pack("<IHHHHHH", 0x02014B50, 20, 20, 0, 8, 0, 0)
        + sizes
        + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0)
        + name
    )
    return (
        local + entry + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(entry), len(local), 0)
    )


def forbidden_zip(flags, method):
    """A stored member, of which the headers say that it is encrypted or packed by
    another method."""
    data = bytearray(archive(npy(described(), bytes(8))))
    for header, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(header) + place
        data[at : at + 4] = struct.pack("<HH", flags, method)
    return bytes(data)


def one_array(dtype, shape, end, body=b""):
    """A safetensors file whose header promises one array in the first `end` bytes."""
    return "safetensors", safe(
        {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}, body
    )


HOSTILE_WEIGHTS = {
    "safetensors: a header of 2^60 bytes": ("safetensors", struct.pack("<Q", 2**60) + b"{}"),
    "safetensors: a header of 99 MB": ("safetensors", struct.pack("<Q", 99_000_000) + b"{}"),
    "safetensors: deep": ("safetensors", safe(b'{"a":' + b"[" * 100_000)),
    "safetensors: not UTF-8": ("safetensors", safe(b'{"\xff": {}}')),
    "safetensors: 2^62 elements": one_array("F32", [2**62], 2**62),
    "safetensors: none of 2^62 rows": one_array("F32", [2**62, 2**62, 0], 0),
    "safetensors: 100 dimensions": one_array("F32", [1] * 100, 4, bytes(4)),
    "safetensors: float8": one_array("F8_E4M3", [4], 4, bytes(4)),
    "npz: 40 GB": ("npz", archive(npy(described(shape="(10000000000,)")))),
    "npz: 400 TB": ("npz", archive(npy(described(shape="(100000000000000,)")))),
    "npz: 2^128 elements": ("npz", archive(npy(described(shape=f"({2**64}, {2**64})")))),
    "npz: -2 elements": ("npz", archive(npy(described(shape="(-2,)")))),
    "npz: a billion elements of no size": (
        "npz",
        archive(npy(described("'|V0'", "(1000000000,)"))),
    ),
    "npz: a string of a billion letters": (
        "npz",
        archive(npy(described("'<U1000000000'", "(1,)"))),
    ),
    "npz: an expression": ("npz", archive(npy("__import__('os').abort()"))),
    "npz: brackets without end": ("npz", archive(npy("(" * 100))),
    "npz: a header of 2 GB": ("npz", archive(b"\x93NUMPY\2\0" + struct.pack("<I", 2**31))),
    "npz: version 9": ("npz", archive(b"\x93NUMPY\x09\0" + npy(described(), bytes(8))[8:])),
    "npz: a text": ("npz", archive(b"hello", "readme.txt")),
    "npz: a name outside": ("npz", archive(b"hello", "../../x.npy")),
    "npz: 160 MB of zeros": ("npz", npz({"a": np.zeros(20_000_000)}, np.savez_compressed)),
    "npz: packed with bzip2": (
        "npz",
        archive(npy(described(), bytes(8)), method=zipfile.ZIP_BZIP2),
    ),
    "npz: encrypted": ("npz", forbidden_zip(1, 0)),
    "npz: packed by no known method": ("npz", forbidden_zip(0, 77)),
    "npz: one array": ("npz", npy(described(shape="(100000000000000,)"))),
    "npz: safetensors": ("npz", WHOLE["safetensors"]),
    "safetensors: npz": ("safetensors", WHOLE["npz"]),
    "params: safetensors": ("params", WHOLE["safetensors"]),
    "params: 2^60 arrays": ("params", struct.pack("<QQQ", 0x112, 0, 2**60)),
    "params: nothing": ("params", b""),
}


@pytest.mark.parametrize("case", HOSTILE_WEIGHTS)
def test_hostile_files(tmp_path, case):
    assert "cannot be read" in loaded(tmp_path, *HOSTILE_WEIGHTS[case])


def test_a_bomb_behind_a_lie_is_not_unpacked(tmp_path):
    (tmp_path / "weights.npz").write_bytes(lying_archive(npy(described(), bytes(8)), 1000))
    with contained():
        assert read_npz(tmp_path / "weights.npz")["a"].shape == (2,)


@pytest.mark.parametrize(
    "kind",
    [
        "npz: an object array",
        "npz: a pickle",
        "npz: a member that is a pickle",
        "safetensors",
        "params",
    ],
)
def test_nothing_is_unpickled(tmp_path, kind):
    trap = Trap(tmp_path / "sprung")
    pickled = pickle.dumps(trap)
    content = {
        "npz: an object array": npz({"conv1.weight": np.array([trap], dtype=object)}),
        "npz: a pickle": pickled,
        "npz: a member that is a pickle": archive(pickled),
    }.get(kind, pickled)
    assert "cannot be read" in loaded(tmp_path, kind.split(":")[0], content)
    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickled)
    assert (tmp_path / "sprung").exists()  # the trap works


@fuzz(60)
@given(
    st.lists(st.sampled_from([*ARRAYS][:-1]), min_size=1, max_size=3, unique=True),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.sampled_from(["safetensors", "npz"]),
)
def test_every_array_that_is_not_finite_is_named(tmp_path, names, value, kind):
    arrays = {name: array.copy() for name, array in ARRAYS.items()}
    for name in names:
        arrays[name].flat[-1] = value
    message = loaded(
        tmp_path, kind, safetensors.numpy.save(arrays) if kind == "safetensors" else npz(arrays)
    )
    assert f"{len(names)} arrays differ" in message
    for name in ARRAYS:
        assert (f"not finite: {name} holds NaN or infinity" in message) == (name in names)


def test_mxnet_weights_that_are_not_finite(tmp_path):
    arrays = MXNET | {"arg:conv1a_weight": np.full((4, 3, 3, 3), np.nan, np.float32)}
    assert "not finite: arg:conv1a_weight holds NaN" in loaded(tmp_path, "params", params(arrays))


@pytest.mark.parametrize("dtype", ["<U3", "S3", "c8", "M8[s]", "i4,f4", "V2"])
def test_arrays_that_are_no_numbers(tmp_path, dtype):
    message = loaded(tmp_path, "npz", npz(ARRAYS | {"bn1.bias": np.zeros(4, dtype)}))
    assert "no numbers: bn1.bias" in message


def test_the_background_s_row_of_a_head_that_has_none():
    params = {"backbone": STEM["params"], "head": {"kernel": np.zeros((1, 1, 8, 20), np.float32)}}
    variables = {"params": params, "batch_stats": {"backbone": STEM["batch_stats"]}}
    with pytest.raises(InputError, match=r"wrong shape: fc8\.weight is \(\)"):
        place_network({**ARRAYS, "fc8.weight": np.array(1.0)}, variables, ResNet())


def test_a_device_is_no_weight_file(tmp_path):
    (tmp_path / "weights.npz").symlink_to("/dev/zero")
    with contained(), pytest.raises(InputError, match="does not exist"):
        read_weights(tmp_path / "weights.npz")
