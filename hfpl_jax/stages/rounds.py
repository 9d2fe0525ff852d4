"""Rounds: what the final network sees on the photographs takes the place of the CAMs, and
all that comes of them is made anew, in a folder of the round's own.

Source: Wang, You, Li and Ma, "Weakly-Supervised Semantic Segmentation by Iteratively
Mining Common Object Features", CVPR 2018, whose loop this is; with any method and any
refiner.
"""

import dataclasses
import functools
from collections.abc import Sequence

from hfpl_jax.runtime.stage_json import read_stage_json
from hfpl_jax.stages import seen
from hfpl_jax.stages.context import Context, prefix
from hfpl_jax.stages.scoring import METRICS_FILE
from hfpl_jax.stages.stage import Stage, always

_ONCE = ("instances", "report")
"""Behind the CAMs, what a later round does not do again."""

KINDS = {"cam": "metrics", "pseudo_label": "labels", "segmentation": "predictions"}
"""Kinds of masks of each round, and the stages that score them."""


def with_rounds(stages: Sequence[Stage], rounds: int) -> list[Stage]:
    """The stages of one round, and behind them those of the later ones; the last stage,
    which reads the scores of all of them, stays the last.

    A stage of round r is named `round{r}/NAME`, and its folder lies there. It reads those
    of its own round; those before the CAMs there are once.
    """
    *first, report = stages
    names = [stage.name for stage in first]
    again = [stage for stage in first[names.index("cams") :] if stage.name not in _ONCE]
    later = [_in_round(stage, number, again) for number in range(2, rounds + 1) for stage in again]
    scored = tuple(each.name for each in later if each.name.rpartition("/")[2] in KINDS.values())
    return [*first, *later, dataclasses.replace(report, reads=(*report.reads, *scored))]


def _in_round(stage: Stage, number: int, again: Sequence[Stage]) -> Stage:
    of_round = functools.partial(dataclasses.replace, name=prefix(number) + stage.name)
    if stage.name == "cams":
        return of_round(
            stage,
            run=seen.run,
            reads=("data", f"{prefix(number - 1)}segmentation"),
            fields=(
                "data.label_split",
                "data.val_split",
                "inference.image_labels",
                "segmentation.scales",
                "segmentation.long_side",
                "segmentation.crf",
            ),
            there=always,
            round=number,
            version=1,
        )
    own = {each.name for each in again}
    reads = (prefix(number) + name if name in own else name for name in stage.reads)
    return of_round(
        stage,
        reads=tuple(name for name in reads if name not in _ONCE),
        # The classifier's model file holds the threshold of its own CAMs.
        after=None if stage.name == "metrics" else stage.after,
        round=number,
    )


def scores_of_rounds(context: Context) -> dict[str, dict[str, float]]:
    """Round -> `{role}/{kind}` -> mIoU, of what is scored in several rounds; empty where
    there is but one.
    """
    if context.config.rounds == 1:
        return {}
    found: dict[str, dict[str, float]] = {}
    for number in range(1, context.config.rounds + 1):
        scores = found[f"round {number}"] = {}
        for kind, stage in KINDS.items():
            path = context.of_round(number).workdir / stage / METRICS_FILE
            metrics = read_stage_json(path) if path.exists() else {}
            for role in ("train", "val"):
                if f"{role}/{kind}/miou" in metrics:
                    scores[f"{role}/{kind}"] = metrics[f"{role}/{kind}/miou"]
    return found


def table_of_rounds(scores: dict[str, dict[str, float]]) -> str:
    """The mIoU of every round in percent, as lines of text."""
    columns = list(dict.fromkeys(name for each in scores.values() for name in each))
    lines = ["mIoU, %   " + "".join(f"{name:>22}" for name in columns)]
    for name, each in scores.items():
        values = (f"{100 * each[column]:.1f}" if column in each else "-" for column in columns)
        lines.append(f"{name:<10}" + "".join(f"{value:>22}" for value in values))
    return "\n".join(lines)
