"""A file of proposals of one's own: what is read, and one sentence for each fault."""

import json

import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.inference.given_proposals import GivenProposals
from hfpl_jax.inference.instances import ANY
from hfpl_jax.instance import encode_rle

FIELD = "config.instances.proposals"
SIZE = (4, 6)
WANTED = (
    'a line is {"file_name": "a.jpg", "segmentation": {"size": [height, width], "counts": "..."}}'
)


def line(name, region):
    return json.dumps({"file_name": name, "segmentation": encode_rle(region)})


@pytest.fixture
def write(tmp_path):
    def call(*lines):
        path = tmp_path / "proposals.jsonl"
        path.write_text("\n".join(lines))
        return path

    return call


FIRST, SECOND = np.eye(4, 6, dtype=bool), np.ones((4, 6), bool)


def test_the_regions_of_a_photograph_in_their_order(write):
    given = GivenProposals(write(line("a.jpg", FIRST), "", line("b.jpg", SECOND), ""), FIELD)
    regions, classes = given.of("a.jpg", SIZE)
    np.testing.assert_array_equal(regions, [FIRST])
    np.testing.assert_array_equal(classes, [ANY])
    regions, classes = given.of("c.jpg", (2, 3))
    assert regions.shape == (0, 2, 3)
    assert classes.shape == (0,)
    given.check({"a.jpg": SIZE, "c.jpg": (1, 1)}, ["train"])


def test_the_first_hundred_count(write):
    lines = [line("a.jpg", FIRST)] * 100 + [line("a.jpg", SECOND)] * 3
    regions, _ = GivenProposals(write(*lines), FIELD).of("a.jpg", SIZE)
    assert len(regions) == 100
    assert (regions == FIRST).all()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("{file_name}", "is no JSON (Expecting property name enclosed in double quotes: line 1"),
        ("[1]", "has no file_name or no run-length code as segmentation"),
        ('{"file_name": "a.jpg"}', "has no file_name or no run-length code as segmentation"),
        ('{"file_name": 7, "segmentation": {}}', "has no file_name or no run-length code"),
    ],
)
def test_a_line_that_is_none(write, second, said):
    path = write(line("a.jpg", FIRST), second)
    with pytest.raises(InputError) as told:
        GivenProposals(path, FIELD)
    assert str(told.value).startswith(f"{path}, line 2, {said}")
    assert str(told.value).endswith(f": {WANTED}. Correct the line.")


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ({"size": [6, 4], "counts": "08"}, "its 'size' is [6, 4], which must be [height, width]"),
        ({"size": [4, 6], "counts": "~~"}, "its 'counts' are no run-length text, or cut off"),
        ({"size": [4, 6], "counts": [3, 5]}, "do not add up to the 24 pixels of the photograph"),
        ({"size": [4, 6]}, "'counts'"),
    ],
)
def test_a_code_that_is_none(write, segmentation, said):
    path = write(
        line("b.jpg", FIRST), json.dumps({"file_name": "a.jpg", "segmentation": segmentation})
    )
    with pytest.raises(InputError) as told:
        GivenProposals(path, FIELD).check({"a.jpg": SIZE, "b.jpg": SIZE}, ["train"])
    start = f"{path}, line 2 (a.jpg): the 'segmentation' of the proposal cannot be drawn ("
    assert str(told.value).startswith(start)
    assert said in str(told.value)


def test_a_file_that_is_none(tmp_path):
    path = tmp_path / "proposals.json"
    (tmp_path / "proposals.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError) as told:
        GivenProposals(path, FIELD)
    assert str(told.value) == (
        f"{FIELD} = '{path}' cannot be read: No such file or directory (did you mean "
        "'proposals.jsonl'?). Correct the path, or set it to 'own'."
    )
    with pytest.raises(InputError, match=r"is no text in UTF-8 \(.*\): a line is .*Write it so\."):
        GivenProposals(tmp_path / "proposals.jsonl", FIELD)


@pytest.mark.parametrize(("lines", "first"), [([], "None"), ([line("x/a", FIRST)], "'x/a'")])
def test_proposals_of_other_photographs(write, lines, first):
    path = write(*lines)
    with pytest.raises(InputError) as told:
        GivenProposals(path, FIELD).check({"a.jpg": SIZE}, ["train", "val"])
    assert str(told.value) == (
        f"{path} has proposals for no photograph of train and val: it has {first}, where they are "
        "called 'a.jpg'. Write the names as the dataset has them."
    )
