"""The command: `python -m hfpl_jax --config=configs/quickstart.py --workdir=DIR`."""

import contextlib
import logging
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Iterator

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to save while the imports take seconds

import jax
from absl import app, flags
from ml_collections import config_flags

from hfpl_jax import allocator, console, distributed, pipeline, termination
from hfpl_jax.errors import InputError
from hfpl_jax.training.loop import TrainingDiverged

_LOG = logging.getLogger("hfpl_jax")
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A recipe, such as configs/quickstart.py or configs/voc.py:isl=0,fsl=0.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of this run: made if missing, gone on with if not."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "One of several processes that work on this run, on a TPU pod or under Slurm.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where no cluster tells it."
)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "How many processes work on this run, where no cluster tells it."
)
_PROCESS = flags.DEFINE_integer(
    "process", None, "Number of this process, from 0, where no cluster tells it."
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Only say what the training would take: parameters, FLOPs, memory a device."
)
_STAGES = flags.DEFINE_list(
    "stages", list(pipeline.STAGE_NAMES), "Stages to run, in the pipeline's order."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown argument {argv[1]!r}. Options start with two dashes.")
    config, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    allocator.keep_freed_memory()
    with _failures_told():
        if _DISTRIBUTED.value or _COORDINATOR.value:
            distributed.start(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        elif distributed.left_alone():
            raise InputError(
                f"{distributed.left_alone()}, but not with --distributed: each would do all of the "
                "work in the same workdir."
            )
        _run(config, workdir)
    termination.nothing_left_to_save()


def _run(config, workdir: pathlib.Path) -> None:
    termination.listen()
    console.set_up(silent=not distributed.is_first())
    jax.config.update(
        "jax_compilation_cache_dir",
        config.run.compilation_cache or os.fspath(workdir.absolute() / "compilation_cache"),
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    _LOG.info(
        "JAX %s on %d %s devices of %d processes.",
        jax.__version__,
        jax.device_count(),
        jax.default_backend(),
        jax.process_count(),
    )
    flag = flags.FLAGS["config"]
    recipe = flag.parser.parse(config_flags.get_config_filename(flag))
    if _DRY_RUN.value:
        text = pipeline.dry_run(config, workdir, recipe=recipe)
        if distributed.is_first():
            print(text)
        return
    pipeline.run(config, workdir, _STAGES.value, recipe=recipe)
    picture = workdir / "report" / "grid.png"
    if picture.exists() and distributed.is_first():
        print(f"Report:  {workdir / 'report' / 'report.html'}\nPicture: {picture}")


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    """A sentence in place of a traceback for what the user can mend; a process never
    waits for others that have failed.
    """
    try:
        yield
    except (InputError, TrainingDiverged) as error:
        print(f"\nhfpl_jax: {error}", file=sys.stderr)
        distributed.leave(2)
    except termination.Stopped:
        print(
            "\nhfpl_jax: Stopped as asked, and saved. The same command goes on from here.",
            file=sys.stderr,
        )
        distributed.leave_together(termination.exit_status())
    except Exception as error:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        if distributed.lost_another(error):
            print(
                "\nhfpl_jax: Another process of this run has failed, so this one stops; its own "
                "output says why.",
                file=sys.stderr,
            )
        distributed.leave(1)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
