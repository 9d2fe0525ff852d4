"""Scalars for TensorBoard, without the packages that would bring PyTorch or TensorFlow
into every process where those are installed.

An event is a protocol buffer `tensorflow.Event`, a record of a TFRecord file: the wall
time (field 1, double), the step (2), and one of the version of the format (3, the first
event of a file), a summary (5) or a mark of the session (7). Source of names and
numbers: tensorboard/compat/proto/event.proto and summary.proto.
"""

import os
import pathlib
import socket
import struct
import time

from hfpl_jax.runtime.tfrecord import TFRecordWriter

_VERSION = b"brain.Event:2"
_START = 1
"""SessionLog.START: what lies at this step or behind it in earlier files is void."""


class EventFile:
    """A new file of a folder, which TensorBoard reads together with those before it.

    Args:
      directory: made if missing.
      first_step: points at this step and later in earlier files are not shown.
    """

    def __init__(self, directory: str | os.PathLike, first_step: int):
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        stamp = f"{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = TFRecordWriter(directory / f"events.out.tfevents.{stamp}")
        self._write(0, _part(3, _VERSION))
        self._write(first_step, _part(7, _number(1, _START)))

    def scalar(self, name: str, value: float, step: int) -> None:
        """A point of the curve `name`."""
        point = _part(1, name.encode()) + _key(2, 5) + struct.pack("<f", value)
        self._write(step, _part(5, _part(1, point)))

    def flush(self) -> None:
        """What was written can be read by others."""
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, step: int, content: bytes) -> None:
        moment = _key(1, 1) + struct.pack("<d", time.time())
        self._file.write(moment + _number(2, step) + content)


def _key(field: int, kind: int) -> bytes:
    return bytes([field << 3 | kind])


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the eighth bit."""
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _number(field: int, number: int) -> bytes:
    return _key(field, 0) + _varint(number)


def _part(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content
