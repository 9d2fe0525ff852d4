"""Checks every file of a folder of the published program's numbers against this
library: one line a quantity.

    python -m experiments.parity --goldens=DIR

Exits with 1 if a piece differs by more than its tolerance, or if a file or an array of
it is missing.
"""

import pathlib
import sys
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

from experiments.parity import affinity, crf, losses, masks, networks
from experiments.parity.check import Check
from hfpl_jax import console
from hfpl_jax.errors import InputError

_GOLDENS = flags.DEFINE_string(
    "goldens", None, "Folder with fsl.npz, isl.npz, seam_losses.npz, ..."
)


def _loaded(name: str) -> Callable[[pathlib.Path], list[Check]]:
    def check(goldens: pathlib.Path) -> list[Check]:
        with np.load(goldens / name) as golden:
            return losses.CHECKS[name](dict(golden))

    return check


PIECES: dict[str, Callable[[pathlib.Path], list[Check]]] = {
    "importance sampling loss": _loaded("isl.npz"),
    "feature similarity loss": _loaded("fsl.npz"),
    "SEAM and HFPL losses": _loaded("seam_losses.npz"),
    "SEAM network": networks.check_seam_network,
    "MXNet file": networks.check_mxnet,
    "CAM merge": masks.check_cam_merge,
    "dense CRF": crf.check,
    "affinity labels and loss": affinity.check_labels,
    "affinity network": networks.check_affinity_network,
    "random walk": affinity.check_walk,
    "segmentation network": networks.check_segmentation_network,
    "metrics": masks.check_metrics,
}


def check_piece(name: str, goldens: pathlib.Path) -> tuple[list[Check], str]:
    """The rows of a piece, and why there are none: a file or an array that is missing
    or does not fit.
    """
    try:
        with jax.default_matmul_precision("highest"):
            return PIECES[name](goldens), ""
    except FileNotFoundError as error:
        return [], f"the file {pathlib.Path(error.filename).name} is missing"
    except KeyError as error:
        return [], f"an array is missing: {error.args[0]}"
    except (InputError, ValueError, OSError) as error:
        return [], str(error)


def main(argv: list[str]) -> None:
    del argv
    console.set_up()
    goldens = pathlib.Path(_GOLDENS.value)
    if not goldens.is_dir():
        print(
            f"parity: The folder {goldens} does not exist. Set --goldens to the folder with "
            "isl.npz and the others.",
            file=sys.stderr,
        )
        sys.exit(2)
    failed = 0
    print(f"{'piece':<26}{'quantity':<32}{'max rel. error':>16}{'tolerance':>12}")
    for name in PIECES:
        rows, problem = check_piece(name, goldens)
        if problem:
            failed += 1
            print(f"{name:<26}FAILED: {problem}")
        for row in rows:
            failed += not row.ok
            print(
                f"{row.piece:<26}{row.quantity:<32}{row.error:>16.2e}{row.tolerance:>12.0e}  "
                f"{'ok' if row.ok else 'FAILED'}",
                flush=True,
            )
    print("Everything agrees." if not failed else f"{failed} quantities differ or are missing.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    flags.mark_flags_as_required(["goldens"])
    app.run(main)
