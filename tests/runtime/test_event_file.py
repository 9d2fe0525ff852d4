import importlib.util
import json
import subprocess
import sys

import grain
import pytest

from hfpl_jax.runtime.event_file import EventFile

READ = """
import json, sys
from tensorflow.core.util.event_pb2 import Event
from tensorflow.python.summary.summary_iterator import summary_iterator

def said(event):
    return [event.step, event.file_version, event.session_log.status,
            [[value.tag, value.simple_value] for value in event.summary.value]]

print(json.dumps([said(event) for event in summary_iterator(sys.argv[1])]))
"""


def written(directory):
    file = EventFile(directory, 7)
    file.scalar("loss", 0.25, 127)
    file.scalar("learning_rate", -1e-3, 70_000)
    file.close()
    (path,) = directory.iterdir()
    return path


def test_bytes(tmp_path):
    """The wire format by hand: every event begins with its time, nine bytes."""
    path = written(tmp_path)
    assert path.name.startswith("events.out.tfevents.")
    events = [event[9:] for event in grain.experimental.TFRecordIterDataset(str(path))]
    assert events == [
        b"\x10\x00\x1a\x0dbrain.Event:2",
        b"\x10\x07\x3a\x02\x08\x01",
        b"\x10\x7f\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x80\x3e",
        b"\x10\xf0\xa2\x04\x2a\x16\x0a\x14\x0a\x0dlearning_rate\x15\x6f\x12\x83\xba",
    ]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)
def test_tensorflow_reads(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", READ, str(written(tmp_path))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [
        [0, "brain.Event:2", 0, []],
        [7, "", 1, []],
        [127, "", 0, [["loss", 0.25]]],
        [70_000, "", 0, [["learning_rate", pytest.approx(-1e-3)]]],
    ]


def test_every_start_has_a_file_of_its_own(tmp_path):
    for start in (1, 9):
        EventFile(tmp_path / "tensorboard", start).close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
