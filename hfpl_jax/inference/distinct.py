"""The photographs of some splits, each once however many splits have it: known again by
its bytes, whatever its name.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from hfpl_jax.data.dataset import Split
from hfpl_jax.data.example import OfExample
from hfpl_jax.data.stored_features import Listed
from hfpl_jax.inference.multi_scale import MultiScale

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Keyed(OfExample):
    """A photograph under the name of its records."""

    key: str

    @property
    def file_name(self) -> str:
        return self.key


@dataclasses.dataclass(frozen=True)
class Distinct(Sequence[_Keyed]):
    """The photographs of some splits, each once however many splits have it.

    Attributes:
      places: (split, index) of each, by key.
      sizes: height and width at which the backbone sees each, by key.
      listed: the splits by name.
    """

    splits: Mapping[str, Split]
    places: Mapping[str, tuple[str, int]]
    sizes: dict[str, Size]
    listed: Mapping[str, Listed]

    @classmethod
    def of(cls, splits: Sequence[Split], settings: MultiScale) -> "Distinct":
        """Of the splits' indices; no photograph is read."""
        places: dict[str, tuple[str, int]] = {}
        sizes: dict[str, Size] = {}
        listed = {}
        for split in splits:
            keys, names, labels = [], [], []
            for index, entry in enumerate(split.entries()):
                key = entry.image_hash[:32]
                if key not in places:
                    places[key] = split.name, index
                    sizes[key] = settings.base_size((entry.height, entry.width))
                keys.append(key)
                names.append(entry.file_name)
                labels.append(entry.labels.tolist())
            listed[split.name] = Listed(keys, names, labels)
        return cls({split.name: split for split in splits}, places, sizes, listed)

    @functools.cached_property
    def _keys(self) -> list[str]:
        return list(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> _Keyed:
        key = self._keys[index]
        split, place = self.places[key]
        return _Keyed(self.splits[split][place], key)
