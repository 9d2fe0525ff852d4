import numpy as np
import pytest

from hfpl_jax.data.dataset import Example
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.stages.score_split import check_score_split

NAMES = {"train": "abcd", "part": "bd", "beyond": "dxy", "val": "yz"}


class Photographs:
    def split(self, name):
        return [Example(f"{letter}.jpg", b"", np.array([0]), None, 1, 1) for letter in NAMES[name]]


def check(**fields):
    data = default_config().data
    data.update(fields)
    check_score_split(data, Photographs())


@pytest.mark.parametrize("score_split", ["", "train", "part"])
def test_a_part_of_the_labelled_split_may_be_scored(score_split):
    check(score_split=score_split)


def test_photographs_without_cams_cannot_be_scored():
    with pytest.raises(
        InputError,
        match=r"config\.data\.score_split = 'beyond' is to be a part of 'train' "
        r"\(config\.data\.train_split\).* 2 of its 3 photographs are not in it, such as x\.jpg\.",
    ):
        check(score_split="beyond")
    with pytest.raises(InputError, match=r"a part of 'val' \(config\.data\.label_split\)"):
        check(label_split="val", score_split="part")
