"""TFRecord files without TensorFlow."""

import os
import struct

import google_crc32c


def masked_crc(data: bytes) -> int:
    """TFRecord's checksum: ((crc >> 15) | (crc << 17)) + 0xa282ead8 modulo 2^32, crc =
    CRC-32C.

    The mask keeps the checksum of data that itself holds checksums from degenerating
    (TensorFlow, tsl/lib/hash/crc32c.h).
    """
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class TFRecordWriter:
    """Writes records framed as: length (uint64), its checksum (uint32), data, its
    checksum (uint32); all little-endian.
    """

    def __init__(self, path: str | os.PathLike):
        self._file = open(path, "wb")  # noqa: SIM115 (closed by close)

    def write(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        self._file.write(
            length
            + struct.pack("<I", masked_crc(length))
            + data
            + struct.pack("<I", masked_crc(data))
        )

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
