"""How many photographs of each split show a class, and have a mask, for the log."""

import collections
from collections.abc import Sequence

from hfpl_jax.data.example import Example

_HEAD, _NONE, _MASKED = "photographs of", "(none: background alone)", "(with a mask)"


class ClassCounts:
    """Counts while splits are written."""

    def __init__(self, class_names: Sequence[str]):
        self._class_names = tuple(class_names)
        self._counts: dict[str, collections.Counter[str]] = {}

    def add(self, split: str, example: Example) -> None:
        names = [self._class_names[label] for label in example.labels] or [_NONE]
        if example.segmentation_mask is not None:
            names.append(_MASKED)
        self._counts.setdefault(split, collections.Counter()).update(names)

    def table(self) -> str:
        """A line a class, a column a split."""
        unlabelled = any(counts[_NONE] for counts in self._counts.values())
        rows = [*self._class_names, *([_NONE] if unlabelled else []), _MASKED]
        width = max(len(name) for name in (_HEAD, *rows))
        head = "".join(f"{split:>10}" for split in self._counts)
        lines = [
            f"{name:<{width}}" + "".join(f"{counts[name]:>10}" for counts in self._counts.values())
            for name in rows
        ]
        return "\n".join([f"{_HEAD:<{width}}{head}", *lines])

    def absent(self, split: str = "") -> list[str]:
        """Classes that no photograph of `split`, or of any, shows."""
        counted = [self._counts.get(split, {})] if split else list(self._counts.values())
        return [
            name for name in self._class_names if not any(counts.get(name) for counts in counted)
        ]
