"""Groups of photographs that share a class: what a batch is drawn from where photographs
are looked at together.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import grain
import numpy as np

from hfpl_jax.data.batches import TrainCrop
from hfpl_jax.data.example import Example

_NONE = -1
"""In place of a class, of photographs that show none."""


class Candidates(Protocol):
    def __call__(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Indices of the photographs that the partners of photograph `index` are drawn
        from, all equally likely; itself among them or not. It has none: its partners are
        crops of itself.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ByLabels:
    """Candidates that show one class of the photograph, which is drawn anew each time
    among those that another photograph shows too. Photographs that show no class are
    each other's candidates.

    Attributes:
      labels: of each photograph.
      same_first: whether photographs of just the same labels are the candidates where
        there are any.
    """

    labels: tuple[tuple[int, ...], ...]
    same_first: bool = False

    @classmethod
    def of(cls, labels: Iterable[np.ndarray], *, same_first: bool = False) -> "ByLabels":
        return cls(tuple(tuple(map(int, each)) for each in labels), same_first)

    @functools.cached_property
    def _showing(self) -> dict[int, np.ndarray]:
        """Class -> photographs."""
        return _places(((label, at) for at, own in enumerate(self.labels) for label in _some(own)))

    @functools.cached_property
    def _same(self) -> dict[tuple[int, ...], np.ndarray]:
        """Labels -> photographs."""
        return _places((own, at) for at, own in enumerate(self.labels))

    @property
    def alone(self) -> int:
        """Photographs without a candidate but themselves."""
        shared = {label for label, found in self._showing.items() if len(found) > 1}
        return sum(shared.isdisjoint(_some(own)) for own in self.labels)

    def __call__(self, index: int, rng: np.random.Generator) -> np.ndarray:
        own = self.labels[index]
        if self.same_first and len(alike := self._same[own]) > 1:
            return alike
        each = [self._showing[label] for label in _some(own)]
        shared = [found for found in each if len(found) > 1] or each
        return shared[rng.integers(len(shared))]


def _some(labels: tuple[int, ...]) -> tuple[int, ...]:
    return labels or (_NONE,)


def _places(pairs: Iterable[tuple]) -> dict:
    found: dict = {}
    for key, place in pairs:
        found.setdefault(key, []).append(place)
    return {key: np.asarray(places, np.int64) for key, places in found.items()}


@dataclasses.dataclass(frozen=True)
class Alike:
    """Candidates that look like the photograph and share a class with it; where there is
    none, those of its class.

    Attributes:
      lists: of each photograph.
      of_class: the others.
    """

    lists: tuple[tuple[int, ...], ...]
    of_class: ByLabels

    @classmethod
    def of(
        cls, names: Sequence[str], alike: Mapping[str, Sequence[str]], of_class: ByLabels
    ) -> "Alike":
        """Args:
        names: of the photographs.
        alike: file name -> those of the photographs that look most like it.
        """
        places, shown = {name: at for at, name in enumerate(names)}, of_class.labels
        lists = (
            tuple(
                other
                for other in map(places.get, alike.get(name, ()))
                if other not in (None, at) and set(shown[at]) & set(shown[other])
            )
            for at, name in enumerate(names)
        )
        return cls(tuple(lists), of_class)

    def __call__(self, index: int, rng: np.random.Generator) -> np.ndarray:
        found = self.lists[index]
        return np.asarray(found, np.int64) if found else self.of_class(index, rng)


@dataclasses.dataclass(frozen=True)
class Group:
    """A photograph, and whom its partners are drawn from."""

    photographs: Sequence[Example]
    index: int
    size: int
    candidates: Candidates

    def draw(self, rng: np.random.Generator) -> list[Example]:
        """The photograph and `size` - 1 partners, different ones as far as there are so
        many.
        """
        found, count = self.candidates(self.index, rng), self.size - 1
        others = found[found != self.index]
        if len(others) > count:
            partners = others[rng.choice(len(others), count, replace=False)]
        else:
            partners = np.resize(rng.permutation(others) if len(others) else self.index, count)
        return [self.photographs[int(at)] for at in (self.index, *partners)]


@dataclasses.dataclass(frozen=True)
class Groups(Sequence[Group]):
    """A group for each photograph, led by it."""

    photographs: Sequence[Example]
    size: int
    candidates: Candidates

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> Group:
        return Group(self.photographs, range(len(self))[index], self.size, self.candidates)


@dataclasses.dataclass(frozen=True)
class GroupCrop(grain.transforms.RandomMap):
    """Group -> crops of its photographs, each randomly augmented for itself; the same
    arrays as of one, with an axis of the group's members in front.
    """

    crop: TrainCrop

    def random_map(self, group: Group, rng: np.random.Generator) -> dict[str, np.ndarray]:
        crops = [self.crop.random_map(example, rng) for example in group.draw(rng)]
        return {name: np.stack([crop[name] for crop in crops]) for name in crops[0]}
