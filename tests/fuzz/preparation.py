"""Prepares a dataset from a source that may be broken."""

import os
import pathlib

from hypothesis import strategies as st
from mutations import everything_in, outcome
from tiny_datasets import config

from hfpl_jax.data.prepare import prepare

POLICIES = st.sampled_from(["raise", "skip"])


def prepared(name, places, on_bad_record="skip", **options):
    """The dataset, or the message of the error. A dataset has a reason for every record
    that was left out.
    """
    source, output = places
    before = everything_in(source)
    dataset = outcome(
        source, prepare, config(name, source, on_bad_record=on_bad_record, options=options), output
    )
    assert everything_in(source) == before
    if not isinstance(dataset, str):
        for example in dataset.split("train"):
            assert not os.path.isabs(example.file_name)
            assert ".." not in pathlib.Path(example.file_name).parts
        assert all(skipped["reason"] for skipped in dataset.skipped())
    return dataset
