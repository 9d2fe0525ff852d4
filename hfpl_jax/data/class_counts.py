"""How many photographs of each split show a class, for the log."""

import collections
from collections.abc import Sequence

from hfpl_jax.data.example import Example

_NONE = "(none: background alone)"


class ClassCounts:
    """Counts while splits are written."""

    def __init__(self, class_names: Sequence[str]):
        self._class_names = tuple(class_names)
        self._counts: dict[str, collections.Counter[str]] = {}

    def add(self, split: str, example: Example) -> None:
        names = [self._class_names[label] for label in example.labels] or [_NONE]
        self._counts.setdefault(split, collections.Counter()).update(names)

    def table(self) -> str:
        """A line a class, a column a split."""
        unlabelled = any(counts[_NONE] for counts in self._counts.values())
        rows = [*self._class_names, *([_NONE] if unlabelled else [])]
        width = max(len(name) for name in rows)
        head = "".join(f"{split:>10}" for split in self._counts)
        lines = [
            f"{name:<{width}}" + "".join(f"{counts[name]:>10}" for counts in self._counts.values())
            for name in rows
        ]
        return "\n".join([f"{'photographs of':<{max(width, 14)}}"[: max(width, 14)] + head, *lines])

    def absent(self, split: str = "") -> list[str]:
        """Classes that no photograph of `split`, or of any, shows."""
        counted = [self._counts.get(split, {})] if split else list(self._counts.values())
        return [
            name for name in self._class_names if not any(counts.get(name) for counts in counted)
        ]
