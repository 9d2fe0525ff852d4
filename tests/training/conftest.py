"""Trainers that the tests of this folder share, as compiling the step takes longer than
all of its runs.
"""

import pytest
from tiny import Trainer


@pytest.fixture(scope="session")
def trainer():
    return Trainer(8)


@pytest.fixture(scope="session")
def lone_trainer():
    """The same on one device."""
    return Trainer(1)


@pytest.fixture(scope="session")
def scratch_trainer():
    """Batch normalisation by the batch's statistics."""
    return Trainer(8, frozen_batch_norm=False)
