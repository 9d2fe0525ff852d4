import io
import logging
import sys

import pytest

from hfpl_jax.runtime import progress
from hfpl_jax.runtime.progress import Meter, format_seconds, track


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (65.2, "1:05"), (3599.9, "59:59"), (3725.0, "1:02:05")]
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_now_and_then(clock, caplog):
    caplog.set_level(logging.INFO)
    with Meter("train", 100, done=20, every_s=10.0) as meter:
        for _ in range(4):
            clock[0] += 5.0
            meter.advance(10, note="loss 1.5")
        assert meter.rate == pytest.approx(2.0)  # what an earlier run did is not this one's speed
    assert caplog.messages == [
        "train: 40/100, 2.0 images/s, 0:30 left (loss 1.5)",
        "train: 60/100, 2.0 images/s, 0:20 left (loss 1.5)",
        "train: 40 images in 0:20 (2.0 images/s)",
    ]


def test_silent_where_nothing_was_done_or_all_failed(clock, caplog):
    caplog.set_level(logging.INFO)
    with Meter("train", 10):
        pass
    meter = Meter("train", 10).__enter__()
    meter.advance()
    meter.__exit__(KeyError, None, None)
    assert not caplog.messages


def test_track_yields_every_item_and_counts(clock, caplog):
    caplog.set_level(logging.INFO)
    assert list(track(iter("abc"), "letters", 3, unit="letters")) == ["a", "b", "c"]
    assert caplog.messages[0].startswith("letters: 3 letters in 0:00")


def test_a_bar_on_a_terminal(monkeypatch, caplog):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(range(3), "letters", 3)) == [0, 1, 2]
    shown = sys.stdout.getvalue() + sys.stderr.getvalue()
    assert "letters" in shown
    assert "100%" in shown
    assert not caplog.messages
