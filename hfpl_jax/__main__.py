"""The command: `python -m hfpl_jax --config=configs/quickstart.py --workdir=DIR`."""

import logging
import os
import pathlib
import sys

import jax
from absl import app, flags
from ml_collections import config_flags

from hfpl_jax import console, pipeline
from hfpl_jax.errors import InputError
from hfpl_jax.training.loop import TrainingDiverged

_LOG = logging.getLogger("hfpl_jax")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A recipe, such as configs/quickstart.py or configs/voc.py:isl=0,fsl=0.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run: made if missing, gone on with if not.")
_STAGES = flags.DEFINE_list("stages", list(pipeline.STAGE_NAMES), "Stages to run, in the pipeline's order.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown argument {argv[1]!r}. Options start with two dashes.")
    console.set_up()
    config, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value)
    jax.config.update("jax_compilation_cache_dir", config.run.compilation_cache or os.fspath(workdir.absolute() / "compilation_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    _LOG.info("JAX %s on %d %s devices.", jax.__version__, jax.device_count(), jax.default_backend())
    try:
        pipeline.run(config, workdir, _STAGES.value)
    except (InputError, TrainingDiverged) as error:
        print(f"\nhfpl_jax: {error}", file=sys.stderr)
        sys.exit(2)
    picture = workdir / "report" / "grid.png"
    if picture.exists():
        print(f"Report:  {workdir / 'report' / 'report.html'}\nPicture: {picture}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
