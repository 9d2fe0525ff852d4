import pathlib
import struct

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.models.weights.mxnet_params import read_mxnet_params
from hfpl_jax.models.weights.read import read_weights

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens"
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
FLAGS = {"<f4": 0, "<f8": 1, "<f2": 2, "|u1": 3, "<i4": 4, "|i1": 5, "<i8": 6}


def encoded(array, version=V2, *, storage=0, shape=None, flag=None):
    shape = array.shape if shape is None else shape
    head = (
        struct.pack("<Ii", version, storage)
        if version in (V2, V3)
        else struct.pack("<I", version)
        if version == V1
        else b""
    )
    head += struct.pack(
        f"<I{len(shape)}{'q' if version in (V1, V2, V3) else 'I'}", len(shape), *shape
    )
    return (
        head
        + struct.pack("<3i", 1, 0, FLAGS[array.dtype.str] if flag is None else flag)
        + array.tobytes()
    )


def file_of(arrays, names, count=None, names_count=None):
    content = struct.pack("<QQQ", 0x112, 0, len(arrays) if count is None else count) + b"".join(
        arrays
    )
    content += struct.pack("<Q", len(names) if names_count is None else names_count)
    return content + b"".join(struct.pack("<Q", len(name)) + name for name in names)


def read(tmp_path, content):
    (tmp_path / "weights.params").write_bytes(content)
    return read_mxnet_params(tmp_path / "weights.params")


def test_file_written_by_mxnet():
    arrays = read_weights(GOLDENS / "resnet38_tiny.params")
    assert len(arrays) == 193
    expected = np.load(GOLDENS / "resnet38_tiny_expected.npz")
    for ours, theirs in {
        "arg:conv1a_weight": "conv1a.weight",
        "arg:res3b1_branch2a_weight": "b3_1.conv_branch2a.weight",
        "arg:bn7a_branch2b2_gamma": "b7.bn_branch2b2.weight",
        "aux:bn7_moving_var": "bn7.running_var",
    }.items():
        assert arrays[ours].dtype == np.float32
        np.testing.assert_array_equal(arrays[ours], expected[theirs])


@pytest.mark.parametrize("version", [V1, V2, V3, "older"])
@pytest.mark.parametrize("dtype", list(FLAGS))
def test_every_version_and_dtype(tmp_path, version, dtype):
    first = np.arange(24).reshape(2, 3, 4).astype(dtype)
    second = np.array([7, 9]).astype(dtype)
    arrays = read(
        tmp_path,
        file_of([encoded(first, version), encoded(second, version)], [b"arg:a", b"aux:\xc3\xa9"]),
    )
    assert list(arrays) == ["arg:a", "aux:é"]
    for ours, expected in zip(arrays.values(), (first, second), strict=True):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours, expected)


def test_truncation_anywhere_and_trailing_bytes_are_input_errors(tmp_path):
    whole = file_of(
        [encoded(np.ones((2, 3), np.float32)), encoded(np.ones(5, np.float32), V1)],
        [b"arg:a", b"arg:b"],
    )
    read(tmp_path, whole)
    for length in range(len(whole)):
        with pytest.raises(InputError, match=r"weights\.params cannot be read as MXNet parameters"):
            read(tmp_path, whole[:length])
    with pytest.raises(InputError, match="1 bytes follow its end"):
        read(tmp_path, whole + b"\0")


ONE = np.ones(2, np.float32)
HUGE = 2**62


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4" + bytes(60), "starts with"),
        (
            file_of([encoded(ONE)], [b"a"], count=2**63),
            "number of arrays at byte 16 is 9223372036854775808",
        ),
        (file_of([encoded(ONE)], [b"a"], names_count=2**40), "number of names .* is 1099511627776"),
        (file_of([encoded(ONE)], [], names_count=1) + struct.pack("<Q", HUGE), "length of name 0"),
        (file_of([encoded(ONE)], []), "1 arrays and 0 different names"),
        (file_of([encoded(ONE), encoded(ONE)], [b"a", b"a"]), "2 arrays and 1 different names"),
        (file_of([encoded(ONE)], [b"\xff\xfe"]), "utf-8"),
        (file_of([encoded(ONE, shape=(HUGE, HUGE, HUGE))], [b"a"]), "the data of array 0"),
        (file_of([encoded(ONE, shape=(2**31, 2), version="older")], [b"a"]), "the data of array 0"),
        (file_of([encoded(ONE, shape=(-1, -2))], [b"a"]), r"the shape \(-1, -2\)"),
        (file_of([encoded(ONE, shape=(2, 0))], [b"a"]), r"the shape \(2, 0\)"),
        (file_of([encoded(ONE, shape=())], [b"a"]), "0 dimensions"),
        (
            file_of([struct.pack("<Ii", V2, 0) + struct.pack("<I", 2**32 - 1) + bytes(40)], [b"a"]),
            "4294967295 dimensions",
        ),
        (file_of([struct.pack("<I", 0xF993FACB) + bytes(40)], [b"a"]), "unknown version"),
        (file_of([encoded(ONE, flag=7)], [b"a"]), "unknown type 7"),
        (file_of([encoded(ONE, flag=-1)], [b"a"]), "unknown type -1"),
        (file_of([encoded(ONE, storage=1)], [b"a"]), "sparse storage type 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_files_are_input_errors(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_noise_is_never_a_crash(tmp_path):
    whole = bytearray(
        file_of([encoded(np.ones((2, 3), np.float32)), encoded(ONE, V1)], [b"arg:a", b"arg:b"])
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(256)
        try:
            read(tmp_path, bytes(damaged))
        except InputError:
            continue
