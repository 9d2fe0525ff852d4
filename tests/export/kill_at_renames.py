"""A kill at every rename of a second export, in turn."""

import os

import pytest


def killed_at_every_rename(tmp_path, begin, export, check):
    """What `check(folder)` returns after each kill and, last, without one. Each folder is
    made by `begin`; after a kill `export` has to do all of it.
    """
    rename, outcomes, steps = os.replace, [], 0

    def killed_after(count):
        def replace(*args):
            nonlocal steps
            steps += 1
            if steps > count:
                raise KeyboardInterrupt
            rename(*args)

        return replace

    for count in range(100):
        folder = tmp_path / str(count)
        begin(folder)
        steps = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", killed_after(count))
            try:
                export(folder)
            except KeyboardInterrupt:
                whole = False
            else:
                whole = True
        outcomes.append(check(folder))
        assert not list(folder.rglob("*.incomplete"))
        if whole:
            return outcomes
        export(folder)
        check(folder)
    raise AssertionError("It never ended.")
