import pickle

import numpy as np
import pytest

from hfpl_jax.data.dataset import Example
from hfpl_jax.data.index import Entry
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.records import RecordWriter
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pairs import Pairs


class Photographs:
    """A dataset of one split of five photographs."""

    def split(self, name):
        assert name == "train"
        return [Example(f"{index}.jpg", b"", np.array([0]), None, 4, 4) for index in range(5)]


def write(workdir, indices, *, process_index=0, names=None):
    with RecordWriter(
        workdir / "cams" / "train", shard_size=2, process_index=process_index
    ) as writer:
        for index in indices:
            writer.write({"index": index, "file_name": (names or {}).get(index, f"{index}.jpg")})


def pairs(workdir):
    return Pairs(Context(None, workdir, workdir / "crf", Photographs()), "cams", "train")


def test_records_stand_beside_their_photographs(tmp_path):
    write(tmp_path, [3, 0, 4, 1, 2])
    assert [(record["index"], example.file_name) for record, example in pairs(tmp_path)] == [
        (i, f"{i}.jpg") for i in (3, 0, 4, 1, 2)
    ]


def test_a_photograph_of_which_no_more_is_asked_is_not_read(tmp_path):
    class Indexed(list):
        def entries(self):
            return [Entry(f"{at}.jpg", np.array([0]), 4, 4, "") for at in range(5)]

        def __getitem__(self, index):
            raise AssertionError("a photograph was read")

    write(tmp_path, [3, 0, 4, 1, 2], names={4: "9.jpg"})
    known = pairs(tmp_path)
    known._photographs = Indexed(range(5))
    record, entry = known.known(0)
    assert (record["index"], entry.file_name, entry.width) == (3, "3.jpg", 4)
    with pytest.raises(InputError, match=r"The record of 9\.jpg in .* has 4\.jpg"):
        known.known(2)


def test_sorted_ones_do_not_show_which_process_wrote_them(tmp_path):
    write(tmp_path, [4, 0, 2])
    write(tmp_path, [3, 1], process_index=1)
    both = pairs(tmp_path)
    both.sort()
    again = pickle.loads(pickle.dumps(both))  # as they travel to a data worker
    assert [example.file_name for _, example in again] == [f"{i}.jpg" for i in range(5)]
    assert again[-1][0]["index"] == 4


def test_missing_records_are_told_with_the_stage_to_run(tmp_path):
    write(tmp_path, [0, 1, 2])
    with pytest.raises(
        InputError,
        match=r"records of 3 photographs in .*cams/train, but 'train' has 5. "
        "Delete the folder cams .* the stage cams",
    ):
        pairs(tmp_path)


def test_a_record_of_another_photograph_is_told(tmp_path):
    write(tmp_path, range(5), names={2: "cat.jpg"})
    reader = pairs(tmp_path)
    assert reader[1][1].file_name == "1.jpg"
    with pytest.raises(
        InputError,
        match=r"record of cat\.jpg in .*cams/train stands where the dataset has 2\.jpg. "
        "Delete the folder cams",
    ):
        reader[2]


@pytest.mark.parametrize("index", ["4", 5, -1])
def test_a_record_of_no_photograph_cannot_be_sorted(tmp_path, index):
    write(tmp_path, [0, 1, 2, 3, index])
    with pytest.raises(
        InputError,
        match=r"record of -?\d\.jpg in .*cams/train has the index .*Delete the folder cams",
    ):
        pairs(tmp_path).sort()


def test_a_photograph_with_two_records_is_told(tmp_path):
    write(tmp_path, [0, 0, 1, 3, 4])
    with pytest.raises(
        InputError,
        match=r"In .*cams/train a photograph has two records, and 2\.jpg has none\. Delete",
    ):
        pairs(tmp_path).sort()


def test_maps_of_another_size_are_told(tmp_path):
    with RecordWriter(tmp_path / "cams" / "train") as writer:
        for index in range(5):
            writer.write(
                {"index": index, "file_name": f"{index}.jpg", "height": 4, "width": 4 + index // 4}
            )
    reader = pairs(tmp_path)
    assert reader[3][0]["width"] == 4
    with pytest.raises(
        InputError, match=r"maps of 4\.jpg in .*cams/train are 5x4 pixels, the photograph 4x4\."
    ):
        reader[4]
