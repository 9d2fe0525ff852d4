"""Some photographs of a split."""

import dataclasses
from collections.abc import Sequence

from hfpl_jax.data.dataset import Example, Split
from hfpl_jax.data.index import Entry


@dataclasses.dataclass(frozen=True)
class Part(Sequence[Example]):
    """Those at `indices`, in their order."""

    split: Split
    indices: Sequence[int]

    @property
    def name(self) -> str:
        return self.split.name

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.split[self.indices[index]]

    def entries(self) -> list[Entry]:
        known = self.split.entries()
        return [known[index] for index in self.indices]
