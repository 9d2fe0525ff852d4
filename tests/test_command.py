"""`python -m hfpl_jax` as it is typed: what a slip prints, and the exit status."""

import errno
import logging
import os
import pathlib
import subprocess
import sys

import jax
import pytest
from end_to_end import ROOT, command, environment, finished

from hfpl_jax import __main__, command_line
from hfpl_jax.errors import InputError
from hfpl_jax.stages.context import Context

RECIPE = str(ROOT / "configs" / "quickstart.py")
RUN = (f"--config={RECIPE}:debug", "--workdir=run")

SLIPS = {
    "a field": (
        (*RUN, "--config.train.epoch=3"),
        "There is no field config.train.epoch (did you mean 'epochs'?). "
        "config.train has adamw, batch_size,",
    ),
    "a field of another name by now": (
        (*RUN, "--config.export.format=png"),
        "There is no field config.export.format (did you mean 'formats'?). config.export has",
    ),
    "one of several words": (
        (*RUN, "--config.export.formats=png,vox"),
        "config.export.formats = ('png', 'vox') must be one or several of tfrecord, array_record, "
        "png, coco, voc, parquet, yolo, each once (did you mean 'voc'?).",
    ),
    "colours of no PNG": (
        (*RUN, "--config.export.palette=False"),
        "config.export.palette = False has no effect: it is read only with png or voc among "
        "config.export.formats.",
    ),
    "a section": (
        (*RUN, "--config.trian.epochs=3"),
        "There is no field config.trian.epochs (did you mean 'train'?).",
    ),
    "a field without its section": (
        (*RUN, "--config.isl_weight=0.3"),
        "There is no field config.isl_weight (did you mean 'config.hfpl.isl_weight'?).",
    ),
    "an option of the data": (
        (*RUN, "--config.data.options.train_sise=3"),
        "config.data.options.train_sise (did you mean 'train_size'?). config.data.options has",
    ),
    "a pod for a training": (
        (*RUN, "--topology=v5e-16"),
        "--topology trains nothing: give it with --dry_run.\n",
    ),
    "a pod": (
        (*RUN, "--dry_run", "--topology=v5e16"),
        "--topology='v5e16' is no pod that is known (did you mean 'v5e-16'?).",
    ),
    "a field of a field": (
        (*RUN, "--config.seed.first=3"),
        "There is no field config.seed.first (did you mean 'config.seed'?). "
        "config.seed has no fields;",
    ),
    "an integer": (
        (*RUN, "--config.train.epochs=four"),
        "config.train.epochs = 'four' must be a whole number, at least 1, such as 4.\n",
    ),
    "a fraction of epochs": (
        (*RUN, "--config.train.epochs=2.5"),
        "config.train.epochs = '2.5' must be a whole number, at least 1, such as 4.\n",
    ),
    "a number": (
        (*RUN, "--config.hfpl.isl_weight=0,2"),
        "config.hfpl.isl_weight = '0,2' must be a number, from 0 to 1, such as 0.2.\n",
    ),
    "yes or no": (
        (*RUN, "--config.inference.flip=perhaps"),
        "config.inference.flip = 'perhaps' must be True or False, such as True.\n",
    ),
    "a tuple": ((*RUN, "--config.inference.scales=big"), "config.inference.scales"),
    "a value": (
        (*RUN, "--config.data.name=scene"),
        "config.data.name = 'scene' must be one of scenes, voc_seg, coco_seg, folder (did you mean "
        "'scenes'?).\n",
    ),
    "a batch": (
        (*RUN, "--config.train.batch_size=12"),
        "config.train.batch_size = 12 does not divide into 8 devices. Set it to a "
        "multiple of 8, such as 8 or 16.\n",
    ),
    "a field that nothing reads": (
        (*RUN, "--config.refine.random_walk.beta=3"),
        "config.refine.random_walk.beta = 3 has no effect: it is read only with "
        "config.refine.name = 'random_walk'.",
    ),
    "a word": ((*RUN, "extra"), "Unknown argument 'extra'. Options start with two dashes.\n"),
    "an option": (
        (*RUN, "--wrokdir=run"),
        "Unknown option --wrokdir (did you mean 'workdir'?); see --help.\n",
    ),
    "no workdir": (RUN[:1], "--workdir is missing: it names the folder of this run.\n"),
    "no recipe": (RUN[1:], "--config is missing: it names a file of configs/, such as"),
    "nothing": ((), "--config is missing"),
    "a switch": (
        (f"--config={RECIPE}:bg=1", *RUN[1:]),
        "Unknown switch 'bg=1' behind the recipe. It has debug, isl=NUMBER,",
    ),
    "a missing recipe": (
        (f"--config={RECIPE.replace('quickstart', 'quikstart')}", *RUN[1:]),
        f"quikstart.py does not exist (did you mean '{RECIPE}'?). Give one with --config, such as",
    ),
    "an integer of the command": (
        (*RUN, "--processes=two"),
        "--processes=two is not of the kind that this option takes; see --help.\n",
    ),
    "an option of the dataset": (
        (*RUN, "--config.data.options.size=big"),
        "--config.data.options.size=big is not of the kind that this option takes; see --help.\n",
    ),
    "a stage": ((*RUN, "--stages=trian"), "Unknown stages ['trian'] in --stages. Known are data,"),
}


@pytest.fixture(autouse=True)
def log():
    """As it was, after a command that set it up for the test's own standard error."""
    log = logging.getLogger("hfpl_jax")
    before = log.handlers, log.level, log.propagate
    yield
    log.handlers, level, log.propagate = before
    log.setLevel(level)


@pytest.fixture
def answer(monkeypatch, tmp_path, capsys):
    """`answer(*arguments)` -> exit status, output and errors, in this process."""
    monkeypatch.chdir(tmp_path)
    for change in ("listen", "nothing_left_to_save"):  # signals stay those of the tests
        monkeypatch.setattr(__main__.termination, change, lambda: None)
    monkeypatch.setattr(__main__.allocator, "spare_memory", lambda: None)
    monkeypatch.setattr(__main__.jax.config, "update", lambda *setting: None)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            __main__.main(arguments)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told(answer, slip, tmp_path):
    arguments, message = SLIPS[slip]
    status, out, err = answer(*arguments)
    assert f"hfpl_jax: {message}" in err or message in err.split("hfpl_jax: ", 1)[1]
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(\n", r"recipe\.py fails in line 1: SyntaxError: '\(' was never closed"),
        ("import nothing\n", r"fails in line 1: ModuleNotFoundError: No module named 'nothing'"),
        ("x = 1\n", r"fails: ImportError: it has no function get_config"),
        ("def get_config():\n    return 3\n", r"get_config returns int, no ConfigDict"),
        (
            "from hfpl_jax.defaults import default_config\n\n\ndef get_config(switches=None):\n"
            "    config = default_config()\n    config.train.epochs = 'four'\n    return config\n",
            r"recipe\.py fails in line 6: TypeError",
        ),
        (
            "from hfpl_jax.defaults import default_config\n\n\ndef get_config(switches=None):\n"
            "    config = default_config()\n    config.trian.epochs = 4\n    return config\n",
            r"recipe\.py fails in line 6: AttributeError.*\"train\"",
        ),
    ],
)
def test_a_recipe_that_fails_is_told_with_its_line(tmp_path, content, message):
    (tmp_path / "recipe.py").write_text(content)
    with pytest.raises(InputError, match=message):
        command_line.parse([f"--config={tmp_path / 'recipe.py'}", "--workdir=run"])


def test_what_is_typed_arrives(tmp_path):
    asked = command_line.parse(
        [
            "--config.train.epochs=7",
            "--config",
            f"{RECIPE}:isl=0",
            f"--workdir={tmp_path}",
            "--config.inference.scales=(0.5,1.5)",
            "--config.labels.threshold=0.25",
            "--noconfig.inference.flip",
            "--config.export.formats=png,voc",
            "--config.data.options.train_size=8",
            "--stages=data,train",
            "--dry_run",
        ]
    )
    config = asked.config
    assert (config.train.epochs, config.hfpl.isl_weight) == (7, 0.0)
    assert (config.inference.scales, config.inference.flip) == ((0.5, 1.5), False)
    assert config.export.formats == ("png", "voc")
    assert (config.labels.threshold, config.data.options.train_size) == ("0.25", 8)
    assert (asked.workdir, asked.stages) == (tmp_path, ["data", "train"])
    assert asked.dry_run
    assert (asked.distributed, asked.coordinator) == (False, None)
    assert command_line.parse(RUN).stages is None


def test_a_pod_is_asked_about_without_a_folder():
    asked = command_line.parse([f"--config={RECIPE}", "--dry_run", "--topology=v5e-16"])
    assert (asked.topology, asked.dry_run) == ("v5e-16", True)


def test_help_shows_every_field_and_its_comment(capsys):
    __main__.main(["--help"])  # no exit status but 0
    out, err = capsys.readouterr()
    assert not err
    assert "--config.train.epochs=4\n      passes over the photographs; at least 1\n" in out
    assert "--config.export.formats=('tfrecord',)\n      of the files, each in a folder" in out
    assert "  --workdir\n      Folder of this run: made if missing, resumed if not.\n" in out
    assert max(map(len, out.splitlines())) <= 120
    __main__.main([f"--config={RECIPE}", "--help"])
    assert "--config.train.epochs=16\n" in capsys.readouterr().out


def test_a_workdir_that_cannot_be(answer, tmp_path):
    (tmp_path / "run").write_text("mine")
    status, _, err = answer(*RUN)
    assert status == 2
    assert err.endswith(
        "hfpl_jax: --workdir=run cannot be written into: it is a file. Choose a folder of your "
        "own.\n"
    )
    assert (tmp_path / "run").read_text() == "mine"
    for place in ("run/below", "/proc/run"):  # below a file; where nobody may write
        status, _, err = answer(RUN[0], f"--workdir={place}")
        assert status == 2
        assert f"--workdir={place} cannot be written into: " in err
        assert "Traceback" not in err


def test_the_report_and_each_of_its_pictures_is_named_at_the_end(answer, monkeypatch, capsys):
    def run(config, workdir, *arguments, **keywords):
        (workdir / "report").mkdir()
        for name in ("predictions.png", "report.html", "grid.png", "manifest.json"):
            (workdir / "report" / name).touch()
        return Context(config, workdir, workdir, notices=("Look.",))

    monkeypatch.setattr(__main__.pipeline, "run", run)
    __main__.main(RUN)
    report = pathlib.Path("run/report")
    assert capsys.readouterr().out == (
        f"Report:  {report / 'report.html'}\nPicture: {report / 'grid.png'}\n"
        f"Picture: {report / 'predictions.png'}\n\nNotice: Look.\n"
    )


def test_a_full_disk_is_no_traceback(answer, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device", "/run/train/x")

    monkeypatch.setattr(__main__.pipeline, "run", full)
    status, _, err = answer(*RUN)
    assert status == 2
    assert err.endswith(
        "hfpl_jax: /run/train/x cannot be written: No space left on device. Free some space or "
        "choose another --workdir, then give the same command again.\n"
    )


def test_too_little_memory_is_no_traceback(answer, monkeypatch):
    def exhausted(*arguments, **keywords):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nxx"
        )

    monkeypatch.setattr(__main__.pipeline, "run", exhausted)
    status, _, err = answer(*RUN)
    assert status == 2
    assert "too little memory (RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.). Lower" in err


def test_a_fault_of_the_program_stays_one(monkeypatch, tmp_path):
    def fault(*arguments):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(__main__, "_run", fault)
    with pytest.raises(ZeroDivisionError, match="ours"):
        __main__.main([RUN[0], f"--workdir={tmp_path}"])


def test_no_device(answer, monkeypatch):
    def none():
        raise RuntimeError("Unable to initialize backend 'tpu': no libtpu\nand more")

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    status, _, err = answer(*RUN)
    assert status == 2
    assert err.endswith(
        "hfpl_jax: JAX finds no device (Unable to initialize backend 'tpu': no libtpu). "
        "JAX_PLATFORMS=tpu asks for what this machine or its JAX has not: unset it, or set it to "
        "cpu.\n"
    )


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Commands as processes, all at once: most of the time is Python's imports."""
    workdir = tmp_path_factory.mktemp("command")
    anywhere = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    elsewhere = environment(1) | {"JAX_PLATFORMS": "tpu"}
    options = (*RUN[:1], f"--workdir={workdir}")
    started = {
        "slip": command(*options, "--config.train.epochs=0", env=anywhere),
        "no device": command(*options, env=elsewhere),
    }
    return {name: finished(process) for name, process in started.items()}


def test_as_processes(processes):
    status, out, err = processes["slip"]
    assert (status, out) == (2, "")
    lines = err.splitlines()  # no word about accelerators that are not there
    assert lines[0].endswith(" devices of 1 processes.")
    assert lines[1:] == ["", "hfpl_jax: config.train.epochs = 0 must be at least 1, such as 4."]
    status, out, err = processes["no device"]
    assert (status, out) == (2, "")
    assert "JAX_PLATFORMS=tpu asks for what this machine or its JAX has not" in err
    assert "Traceback" not in err


IMPORTS = """
import importlib, logging, pkgutil, signal
from absl import logging as absl_logging
import jax
import tensorflow_datasets
from jax._src import monitoring

def state():
    loggers = [logging.getLogger(name) for name in (None, "jax", "absl", "hfpl_jax")]
    return (
        [(list(log.handlers), list(log.filters), log.level) for log in loggers],
        len(monitoring.get_event_duration_listeners()),
        len(monitoring.get_event_listeners()),
        absl_logging.get_verbosity(),
        [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        jax.config.jax_compilation_cache_dir,
    )

import orbax.checkpoint, grain, matplotlib.backends.backend_agg
before = state()
import hfpl_jax
names = [module.name for module in pkgutil.walk_packages(hfpl_jax.__path__, "hfpl_jax.")]
assert len(names) > 100, names
for name in names:
    importlib.import_module(name)
assert state() == before, (before, state())
"""


def test_importing_the_library_listens_to_nothing():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Unable to initialize" not in done.stderr


FIRST_IMPORTS = """
import sys
import hfpl_jax.__main__
later = {"matplotlib", "pyarrow", "scipy.linalg", "scipy.ndimage", "skimage.segmentation"}
assert not later & set(sys.modules), later & set(sys.modules)
"""


def test_a_training_does_not_wait_for_what_other_stages_import():
    done = subprocess.run(
        [sys.executable, "-c", FIRST_IMPORTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
