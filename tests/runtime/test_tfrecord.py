import grain
import pytest

from hfpl_jax.runtime.tfrecord import TFRecordWriter, masked_crc


def test_masked_crc_of_known_data():
    # CRC-32C of "123456789" is 0xe3069283 (RFC 3720); rotated right by 15 bits:
    # 0x2507c60d; plus 0xa282ead8.
    assert masked_crc(b"123456789") == 0xC78AB0E5


def test_frame(tmp_path):
    # What TensorFlow 2.21's tf.io.TFRecordWriter writes for these two records.
    writer = TFRecordWriter(tmp_path / "x")
    writer.write(b"123456789")
    writer.write(b"")
    writer.close()
    length, empty_length = (9).to_bytes(8, "little"), bytes(8)
    expected = [
        length,
        b"7\xf9q9",
        b"123456789",
        b"\xe5\xb0\x8a\xc7",
        empty_length,
        b"\x29\x03\x98\x07",
        b"\xd8\xea\x82\xa2",
    ]
    assert (tmp_path / "x").read_bytes() == b"".join(expected)


def test_grain_reads(tmp_path):
    records = [b"first", b"", bytes(100_000)]
    writer = TFRecordWriter(tmp_path / "x")
    for record in records:
        writer.write(record)
    writer.close()
    assert list(grain.experimental.TFRecordIterDataset(str(tmp_path / "x"))) == records


def test_unwritable(tmp_path):
    with pytest.raises(OSError, match="absent"):
        TFRecordWriter(tmp_path / "absent" / "x")
