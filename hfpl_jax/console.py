"""What the command prints: this library's lines, and only the errors of the libraries under it."""

import logging
import sys

from absl import logging as absl_logging


def set_up(*, silent: bool = False) -> None:
    """One line a decision on standard error, with the time of day; nothing of what is
    no warning where another process says it.
    """
    absl_logging.set_verbosity(
        absl_logging.ERROR
    )  # Orbax reports every step of every save, and warns that reading is only reading
    logging.getLogger("jax").setLevel(
        logging.ERROR
    )  # looks for accelerators that are not there, and says so
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
    log = logging.getLogger("hfpl_jax")
    log.setLevel(logging.WARNING if silent else logging.INFO)
    log.addHandler(handler)
    log.propagate = False
