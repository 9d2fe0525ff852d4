import numpy as np
import pytest
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord, as_stored, read_shown
from hfpl_jax.runtime.records import RecordReader, RecordWriter

PROBABILITIES = np.array([0.25, 0.5, 1.0, 0.0, 0.75], np.float32)


def record_of(cams, classes):
    return CamRecord(
        7, "Photo 7.jpg", np.array([1, 4]), np.asarray(classes, np.int64), cams, PROBABILITIES
    )


@pytest.mark.parametrize(
    ("height", "width", "count"), [(20, 31, 1), (9, 5, 3), (1, 1, 2), (8, 6, 0)]
)
def test_round_trip_through_a_shard(tmp_path, height, width, count):
    cams = np.random.default_rng(0).random((height, width, count)).astype(np.float32)
    original = record_of(cams, range(3, 3 + count))
    with RecordWriter(tmp_path) as writer:
        writer.write(original.encode())
    decoded = CamRecord.decode(RecordReader(tmp_path)[0])
    assert (decoded.index, decoded.file_name) == (7, "Photo 7.jpg")
    np.testing.assert_array_equal(decoded.labels, original.labels)
    np.testing.assert_array_equal(decoded.classes, original.classes)
    assert decoded.labels.dtype == decoded.classes.dtype == np.int64
    assert decoded.cams.dtype == np.float32
    assert decoded.cams.shape == cams.shape
    assert np.abs(decoded.cams - cams).max(initial=0.0) <= 1 / 510 + 1e-6  # half a step
    np.testing.assert_array_equal(decoded.cams, as_stored(cams))
    np.testing.assert_array_equal(decoded.probabilities, PROBABILITIES)


def test_what_is_shown_is_read_without_the_maps():
    record = record_of(np.zeros((2, 3, 1), np.float32), [0]).encode()
    labels, probabilities = read_shown({**record, "cams": b"never decoded"})
    np.testing.assert_array_equal(labels, [1, 4])
    np.testing.assert_array_equal(probabilities, PROBABILITIES)
    with pytest.raises(InputError, match=r"'Photo 7\.jpg' holds no CAMs .*do not go together"):
        read_shown({**record, "labels": [5]})


def test_no_evidence_is_stored_as_zero_and_steps_are_exact():
    cams = np.full((2, 3, 2), -1.0, np.float32)
    cams[..., 1] = np.array([0, 1, 2, 253, 254, 255]).reshape(2, 3) / 255
    decoded = CamRecord.decode(record_of(cams, [0, 5]).encode()).cams
    assert not decoded[..., 0].any()
    np.testing.assert_array_equal(decoded[..., 1], cams[..., 1])


def test_maps_of_a_large_photograph_are_no_decompression_bomb(monkeypatch):
    """Pillow refuses twice this many pixels: a photograph may have fewer and its maps
    together more.
    """
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    cams = np.random.default_rng(0).random((20, 20, 5)).astype(np.float32)
    assert CamRecord.decode(record_of(cams, range(5)).encode()).cams.shape == (20, 20, 5)


def test_smooth_maps_are_small():
    rows, columns = np.meshgrid(np.linspace(-1, 1, 375), np.linspace(-1, 1, 500), indexing="ij")
    blob = np.exp(-4 * (rows**2 + columns**2)).astype(np.float32)[..., None]
    assert len(record_of(blob, [2]).encode()["cams"]) < 0.3 * blob.size
