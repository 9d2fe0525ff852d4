import os

from hfpl_jax.runtime.cores import available_cores


def test_the_cores_a_process_may_use_not_those_of_the_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7, 8}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert available_cores() == 64
