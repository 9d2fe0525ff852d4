import contextlib
import json

from hfpl_jax.training.metric_log import FILE_NAME, MetricLog, read_rows


def _write(directory, start, steps):
    with contextlib.closing(MetricLog(directory, start)) as log:
        for step in steps:
            log.write(step, {"loss": step / 8})


def test_rows_are_json_and_flushed_at_once(tmp_path):
    with contextlib.closing(MetricLog(tmp_path, 0)) as log:
        log.write(2, {"loss": 0.5, "learning_rate": 0.1})
        assert (
            tmp_path / FILE_NAME
        ).read_text() == '{"step": 2, "loss": 0.5, "learning_rate": 0.1}\n'
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_rows_past_the_checkpoint_are_dropped(tmp_path):
    _write(tmp_path, 0, (2, 4, 6))
    _write(tmp_path, 4, (6, 8))
    assert read_rows(tmp_path) == [{"step": step, "loss": step / 8} for step in (2, 4, 6, 8)]
    assert len((tmp_path / FILE_NAME).read_text().splitlines()) == 4


def test_a_half_written_last_line(tmp_path):
    _write(tmp_path, 0, (2, 4))
    with open(tmp_path / FILE_NAME, "a") as file:
        file.write('{"step": 6, "lo')
    assert [row["step"] for row in read_rows(tmp_path)] == [2, 4]
    _write(tmp_path, 6, (8,))
    assert [
        json.loads(line)["step"] for line in (tmp_path / FILE_NAME).read_text().splitlines()
    ] == [2, 4, 8]


def test_no_log_yet(tmp_path):
    assert read_rows(tmp_path) == []
