"""The command `python -m hfpl_jax` until its first training step, for
experiments/first_step.py: notes when each part of it has ended.
"""

import gc
import sys
import time

STARTED, FILE, *OPTIONS = sys.argv[1:]
_marks: list[tuple[str, float, float]] = [("", float(STARTED), 0.0)]


def _mark(part: str) -> None:
    _marks.append((part, time.monotonic(), time.process_time()))


def main() -> None:
    gc.disable()  # as the command does
    from hfpl_jax import __main__ as command

    gc.freeze()
    gc.enable()
    _mark("imports")

    import functools
    import itertools
    import json
    import os
    import pathlib

    import jax

    from hfpl_jax import program
    from hfpl_jax.training import fit, loop

    def marked(before: str, function, after: str = ""):
        """`function`, where the part `before` ends when it is called, `after` when it
        has returned.
        """

        @functools.wraps(function)
        def call(*arguments, **named):
            if before:
                _mark(before)
            result = function(*arguments, **named)
            if after:
                _mark(after)
            return result

        return call

    def train(state, step_fn, *arguments, **named):
        jax.block_until_ready(state)
        _mark("state")

        def first_step(*inputs):
            _mark("first batch")
            lowered = step_fn.lower(*inputs)
            _mark("step: tracing")
            compiled = lowered.compile()
            _mark("step: program from the cache")
            jax.block_until_ready(compiled(*inputs))
            _mark("step: computing")
            parts = {
                part: [clock - clock_before, core - core_before]
                for (_, clock_before, core_before), (part, clock, core) in itertools.pairwise(
                    _marks
                )
            }
            pathlib.Path(FILE).write_text(json.dumps(parts))
            os._exit(0)

        return loop.train(state, first_step, *arguments, **named)

    class Equipment(fit._Equipment):
        def __init__(self, job, *arguments):
            _mark("checks and dataset")
            super().__init__(job, *arguments)
            _mark("shapes")
            object.__setattr__(job, "variables", marked("", job.variables, "parameters"))

    program.find_devices = marked("", program.find_devices, "devices")
    fit._Equipment, fit.train = Equipment, train
    command.main(OPTIONS)


if __name__ == "__main__":
    main()
