"""A deprecated call fails the tests where a line of ours makes it."""

import warnings

import pytest


def old():
    warnings.warn("old", DeprecationWarning, stacklevel=2)


def test_in_a_line_of_ours_it_is_an_error():
    with pytest.raises(DeprecationWarning):
        old()
    with pytest.raises(DeprecationWarning):
        exec("old()", {"__name__": "hfpl_jax.losses", "old": old})


@pytest.mark.parametrize("module", ["flax.linen", "hfpl_jaxed"])
def test_in_a_library_it_is_not(module):
    exec("old()", {"__name__": module, "old": old})
