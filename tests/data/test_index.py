"""What is known of photographs without reading them."""

import json

import numpy as np
import pytest
from tiny_datasets import config, make_folder

from hfpl_jax.data import made_of
from hfpl_jax.data.dataset import Dataset, Split
from hfpl_jax.data.index import Entry, Indexed, entries_of
from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError

NAMES = ("a.jpg", "sub/ä.jpg", "c.jpg")
LABELS = "# classes: cat, dog\nfile_name,labels\na.jpg,dog\nsub/ä.jpg,cat;dog\nc.jpg,background\n"


@pytest.fixture
def dataset(tmp_path):
    return prepare(config("folder", make_folder(tmp_path / "in", LABELS, NAMES)), tmp_path / "out")


@pytest.fixture
def nothing_read(monkeypatch):
    def fails(self, index):
        raise AssertionError("a photograph was read")

    monkeypatch.setattr(Split, "__getitem__", fails)


def _plain(entries):
    return [(*vars(entry).values(),) for entry in _listed(entries)]


def _listed(entries):
    return [Entry(e.file_name, e.labels.tolist(), e.height, e.width, e.image_hash) for e in entries]


def test_it_says_of_every_photograph_what_reading_it_says(dataset, request):
    read = [Entry.of(example) for example in dataset.split("train")]
    request.getfixturevalue("nothing_read")
    known = dataset.split("train").entries()
    assert _plain(known) == _plain(read)
    assert [entry.file_name for entry in known] == list(NAMES)
    assert [entry.labels.tolist() for entry in known] == [[1], [0, 1], []]
    assert all(entry.labels.dtype == np.int64 for entry in known)
    assert isinstance(dataset.split("train"), Indexed)
    assert _plain(entries_of(dataset.split("train"))) == _plain(read)
    assert entries_of(read) is read


def test_a_dataset_of_an_earlier_version_has_none_and_is_read(dataset):
    before = _plain(dataset.split("train").entries())
    (dataset.directory / "index.train.json").unlink()
    assert _plain(Dataset(dataset.directory).split("train").entries()) == before


def test_its_hash_is_that_of_the_photographs_as_it_was_before(dataset):
    """So that no training is repeated for it."""
    hashes = made_of.read_made_of(dataset.directory)["splits"]["train"]
    assert hashes["photographs"] == (
        "0a3efdc44a5047c4fbbea604c3950e30030f8af13955ae08cdf8bf7a862e4856"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:-1],
        lambda rows: [rows[1], rows[0], rows[2]],
        lambda rows: [[*rows[0][:2], rows[0][2] + 1, *rows[0][3:]], *rows[1:]],
        lambda rows: [[rows[0][0], [0], *rows[0][2:]], *rows[1:]],
        lambda rows: [row[:-1] for row in rows],
        lambda rows: "no rows",
    ],
)
def test_one_that_is_not_of_these_photographs_is_told(dataset, change):
    path = dataset.directory / "index.train.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=r"cannot be read .*Delete the folder and make it anew"):
        dataset.split("train").entries()
