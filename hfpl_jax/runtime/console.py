"""What the command prints: this library's lines, and the errors of others alone."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from absl import logging as absl_logging


def set_up() -> None:
    """One line a decision on standard error, with the time of day.

    To be called before anything asks JAX for a device, since JAX says which
    accelerators it looked for and did not find.
    """
    # Orbax reports every step of every save, and TFDS every shard.
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    log = logging.getLogger("hfpl_jax")
    log.setLevel(logging.INFO)
    log.handlers = [handler]
    log.propagate = False


def warn_only() -> None:
    """From now on nothing of what is no warning, as another process says it."""
    logging.getLogger("hfpl_jax").setLevel(logging.WARNING)


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
    """Orbax's warnings are kept from whoever reads a checkpoint in a program of her
    own: that it is only read.
    """
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
