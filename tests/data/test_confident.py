import numpy as np
import pytest

from hfpl_jax.data.confident import by_confidence
from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.errors import InputError


class Photographs(list):
    """Of ten pixels each; the first so many have a confidence of 230, the others of 229."""

    def __init__(self, *counts):
        maps = [np.where(np.arange(10) < count, 230, 229).astype(np.uint8) for count in counts]
        super().__init__(
            Example(f"{index}.jpg", b"", np.array([0]), None, 1, 10, None, encode_mask(each[None]))
            for index, each in enumerate(maps)
        )


@pytest.mark.parametrize(
    ("confidence", "share", "labelled"),
    [
        (0.9, 0.5, [0, 2, 4]),  # 229 of 255 is below 0.9, 230 above
        (0.9, 0.6, [0, 4]),
        (0.89, 0.5, [0, 1, 2, 3, 4]),
        (0.95, 0.1, []),
    ],
)
def test_photographs_are_told_by_the_share_of_confident_pixels(confidence, share, labelled):
    photographs = Photographs(10, 4, 5, 0, 9)
    parts = by_confidence(photographs, confidence=confidence, share=share)
    assert list(parts[0].indices) == labelled
    assert list(parts[1].indices) == sorted({*range(5)} - {*labelled})
    assert [each.file_name for each in parts[0]] == [f"{index}.jpg" for index in labelled]


def test_a_photograph_without_a_map_is_named():
    with pytest.raises(InputError, match=r"no confidence map of b\.jpg.*Set config\.export"):
        by_confidence([Example("b.jpg", b"", np.array([0]), None, 1, 1)], confidence=0.9, share=0.5)
