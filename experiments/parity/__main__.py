"""Compares each piece of the library with the published programs' numbers, all files of
a folder and its subfolders: one line a quantity.

    python -m experiments.parity --goldens=DIR [--strict]

Exits with 1 if a piece differs by more than its tolerance, or if a file or an array of
it is missing. A file of numbers for a piece that the library does not have yet is "not
built", which fails with --strict alone.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from experiments.parity.pieces import PIECES, check_piece, not_built
from hfpl_jax.runtime import console


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.parity")
    parser.add_argument("--goldens", type=pathlib.Path, required=True, help="folder of the numbers")
    parser.add_argument("--strict", action="store_true", help="fail for what is not built, too")
    options = parser.parse_args(arguments)
    console.set_up()
    if not options.goldens.is_dir():
        print(
            f"parity: The folder {options.goldens} does not exist. Set --goldens to the folder "
            "with isl.npz and the others.",
            file=sys.stderr,
        )
        sys.exit(2)
    failed = 0
    print(f"{'piece':<26}{'quantity':<32}{'max rel. error':>16}{'tolerance':>12}")
    for name in PIECES:
        rows, problem = check_piece(name, options.goldens)
        if problem:
            failed += 1
            print(f"{name:<26}FAILED: {problem}")
        for row in rows:
            failed += not row.ok
            print(row.line, flush=True)
    missing = not_built(options.goldens)
    for name in missing:
        print(f"{name:<58}{'not built':>16}")
    if missing:
        print(f"{len(missing)} files hold numbers of pieces that are not built.")
    print("Everything agrees." if not failed else f"{failed} quantities differ or are missing.")
    sys.exit(1 if failed or (options.strict and missing) else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
