"""What a stage is given."""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from hfpl_jax.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Context:
    """`folder` is the stage's own; other stages' folders lie beside it in `workdir`,
    and `reads` names those that this configuration has: others may be there from an
    earlier one. The first stage has no `dataset` yet. `notices` are those of the stages
    before.
    """

    config: ConfigDict
    workdir: pathlib.Path
    folder: pathlib.Path
    dataset: Dataset | None = None
    reads: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

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
