"""Ctrl-C, as it is typed: saved and told in a sentence, and at once the second time."""

import signal
import subprocess
import sys
import time

import pytest
from end_to_end import ROOT, environment, finished

COMMAND = """
import ctypes, runpy, time
from hfpl_jax import pipeline

def wait():
    print("working", flush=True)
    {wait}

def run(*arguments, **options):
    try:
        wait()
    finally:
        print("saved", flush=True)

pipeline.run = run
runpy.run_module("hfpl_jax", run_name="__main__", alter_sys=True)
"""
# In short sleeps: a signal that comes just before a sleep begins is handled after it.
WAITING = "while True: time.sleep(0.05)"
STUCK = """
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # as in a compilation, no handler of Python runs from here on
"""


def working(tmp_path, wait, **options):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            COMMAND.format(wait=wait),
            "--config=configs/quickstart.py",
            f"--workdir={tmp_path}",
        ],
        cwd=ROOT,
        env=environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout.readline() == "working\n"
    return process


@pytest.mark.parametrize(("asked", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_what_was_done_is_saved_and_one_sentence_says_how_to_go_on(tmp_path, asked, status):
    process = working(tmp_path, WAITING)
    process.send_signal(asked)
    returned, out, err = finished(process)
    assert (returned, out) == (status, "saved\n")
    assert err.endswith("Stopped as asked, and saved. The same command goes on from here.\n")
    assert "Traceback" not in err


def test_a_job_in_the_background_of_a_script_leaves_its_interrupt_to_others(tmp_path):
    process = working(
        tmp_path,
        WAITING,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert finished(process)[0] == 0


def test_a_second_interrupt_stops_at_once_wherever_it_comes(tmp_path):
    process = working(tmp_path, STUCK.strip())
    time.sleep(0.5)  # until it is stuck: before, the first interrupt would end it
    process.send_signal(signal.SIGINT)
    line = process.stderr.readline()
    while "a second Ctrl-C stops without saving" not in line:
        line = process.stderr.readline()
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert "Traceback" not in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


def test_an_interrupt_while_python_still_imports_leaves_no_traceback(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-X",
            "importtime",
            "-m",
            "hfpl_jax",
            "--config=configs/quickstart.py",
            f"--workdir={tmp_path}",
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "numpy" not in process.stderr.readline():  # in the middle of JAX's own imports
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in err
