"""What is said of a program that a device cannot hold: compilers in their place say so."""

import re
import types

import jax
import pytest

from hfpl_jax.recipe import load_recipe
from hfpl_jax.topology.ask import answer
from hfpl_jax.topology.pods import Pod
from hfpl_jax.topology.programs import Built, Program

POD = Pod("v5e-4", "v5e", "2x2")
FIXED, EACH, LIMIT = 2**30, 2**28, 16 * 2**30
"""Bytes of a program, of each image of a batch, and of a device."""


class Lowered:
    """In place of a program that takes so much memory."""

    def __init__(self, needed):
        self.needed = needed

    def lower(self):
        return self

    def compile(self):
        if self.needed > LIMIT:
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used "
                f"{self.needed / 2**30:.2f}G of 16.00G hbm. Exceeded hbm capacity."
            )
        sizes = {"argument": FIXED, "temp": self.needed - FIXED, "output": 0, "alias": 0}
        sizes["generated_code"] = 0
        stats = {f"{name}_size_in_bytes": size for name, size in sizes.items()}
        return types.SimpleNamespace(memory_analysis=lambda: types.SimpleNamespace(**stats))


def said(batch, each=EACH, field="train.batch_size"):
    config = load_recipe("configs/cam.py:data=voc")
    config.train.batch_size = batch

    def build(config, pod):
        needed = FIXED + each * config.train.batch_size
        return Built(Lowered(needed), 4, 10, "a step", unit=4)

    program = Program("train", field, build)
    [line] = answer(program, build(config, POD), config, POD)
    return line


def test_the_batch_that_fits_is_named():
    line = said(80)
    assert line.startswith(
        "train: a step does not fit the memory of a device of v5e-4 (22.5 GB of 17.2 GB); "
        "--config.train.batch_size=60 fits, by the linear part of its memory (2.15 GB with 4, as "
        "compiled, and 268 MB for each more)"
    )
    fits = int(re.search(r"batch_size=(\d+)", line)[1])
    assert FIXED + fits * EACH <= LIMIT < FIXED + (fits + 4) * EACH


def test_where_no_batch_fits_something_else_has_to_give():
    assert "and the smallest batch of 4 does not either: choose a smaller crop" in said(8, LIMIT)
    assert "there is no smaller batch: choose a smaller crop" in said(4, LIMIT)


def test_a_program_without_a_batch_has_its_host():
    assert said(80, field="").endswith("choose the algorithm lattice, which runs on the host.")


def test_another_failure_of_the_compiler_is_no_matter_of_memory():
    class Broken(Lowered):
        def compile(self):
            raise jax.errors.JaxRuntimeError("INTERNAL: something")

    built = Built(Broken(0), 4, 10, "a step")
    program = Program("train", "train.batch_size", lambda config, pod: built)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        answer(program, built, load_recipe("configs/cam.py:data=voc"), POD)
