"""What a stage is given."""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from hfpl_jax.data.dataset import Dataset


def room(workdir: pathlib.Path, number: int) -> pathlib.Path:
    """The folder of a round's stages; of the first the workdir itself."""
    return workdir / prefix(number)


def prefix(number: int) -> str:
    """Of the names of a round's stages; the first has none."""
    return "" if number == 1 else f"round{number}/"


@dataclasses.dataclass(frozen=True)
class Context:
    """`folder` is the stage's own; those of the other stages of its round lie beside it in
    `workdir`, and `reads` names those that this configuration has: others may be there
    from an earlier one. The first stage has no `dataset` yet. `notices` are those of the
    stages before.
    """

    config: ConfigDict
    workdir: pathlib.Path
    folder: pathlib.Path
    dataset: Dataset | None = None
    reads: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    round: int = 1

    @property
    def first(self) -> pathlib.Path:
        """The `workdir` of the first round, where the stages before the CAMs lie."""
        return self.workdir if self.round == 1 else self.workdir.parent

    def of_round(self, number: int) -> "Context":
        """The same in another round, whose stages it reads."""
        workdir = room(self.first, number)
        return dataclasses.replace(self, workdir=workdir, round=number)

    @property
    def label_split(self) -> str:
        """The split that gets CAMs and pseudo-labels."""
        return self.config.data.label_split or self.config.data.train_split

    @property
    def roles(self) -> dict[str, str]:
        """The splits that get CAMs: "train", the labelled one, and "val" where there is
        one.
        """
        return {
            "train": self.label_split,
            **({"val": self.config.data.val_split} if self.config.data.val_split else {}),
        }
