"""What the pipeline knows of a stage."""

import dataclasses
import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict

from hfpl_jax.stages.context import Context
from hfpl_jax.stages.fields import all_switches, leaves, matches, missing_switch


def nothing(config: ConfigDict) -> tuple[str, ...]:
    return ()


def always(config: ConfigDict) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class Stage:
    """A box of the pipeline.

    Attributes:
      name: also of its folder in the workdir.
      run: does the work in the context's folder, going on where an interrupted run
        stopped; returns facts for the manifest.
      reads: stages whose folders it reads.
      reads_too: those that it reads in some configurations alone.
      fields: the config fields and sections that decide its result, where no switch of
        `stages.fields` keeps it from reading them.
      fields_too: those that do in some configurations alone.
      but: those of them that do not, though their section is named.
      photographs: splits whose photographs and labels it reads, beyond what it has from
        the stages before.
      masks: splits whose masks it reads.
      unlabelled: splits whose photographs it reads, but not their labels.
      files: those of the fields that may name a file, whose content counts then.
      training: the section of the settings of a training, whose earlier results are
        kept, as they cost the most; "" for all other stages.
      content_read: of a training, a hash of what it reads of the stages before, those of
        `reads_too` left out, in place of their fingerprints: it is not repeated where
        they come to the same again.
      content_of: of a training, which content that is, where configurations differ in
        it; "" for what all read.
      wanted: whether a configuration has this stage at all.
      wanted_with: the condition for that, as a message says it.
      traced: whether config.profile can trace it.
      there: asked with its context where it was done before: whether what it has stored
        outside its folder is still there. If not, it runs again.
      after: called with its context by one process whenever it is done, also where it
        was done already: what it leaves in the folder of the training that it reads.
      round: whose folder it lies in, see `stages.rounds`.
      version: of its code; one more where a change of the code changes its result.
    """

    name: str
    run: Callable[[Context], dict]
    reads: tuple[str, ...]
    fields: tuple[str, ...] = ()
    fields_too: Callable[[ConfigDict], tuple[str, ...]] = nothing
    but: tuple[str, ...] = ()
    reads_too: Callable[[ConfigDict], tuple[str, ...]] = nothing
    photographs: Callable[[ConfigDict], tuple[str, ...]] = nothing
    masks: Callable[[ConfigDict], tuple[str, ...]] = nothing
    unlabelled: Callable[[ConfigDict], tuple[str, ...]] = nothing
    files: tuple[str, ...] = ()
    training: str = ""
    content_read: Callable[[Context], str] | None = None
    content_of: Callable[[ConfigDict], str] = lambda config: ""
    wanted: Callable[[ConfigDict], bool] = always
    wanted_with: str = ""
    traced: Callable[[ConfigDict], bool] = lambda config: False
    there: Callable[[Context], bool] = lambda context: True
    after: Callable[[Context], None] | None = None
    round: int = 1
    version: int = 1

    def fields_read(self, config: ConfigDict) -> list[str]:
        """The fields whose values are part of its fingerprint."""
        known = all_switches()
        return [
            path
            for path in leaves(config)
            if self.names(path, config) and not missing_switch(path, config, self.training, known)
        ]

    def names(self, path: str, config: ConfigDict) -> bool:
        named = (*self.fields, *self.fields_too(config))
        return matches(path, named) and not matches(path, self.but)

    def folder(self, workdir: pathlib.Path, fingerprint: str) -> pathlib.Path:
        """Where the result of this fingerprint lies, or would."""
        return workdir / self.name / fingerprint if self.training else workdir / self.name
