"""Writes the pseudo-labels as a dataset for the next network."""

import dataclasses
from collections.abc import Sequence

from hfpl_jax.data.dataset import decode_mask
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.score_instances import found_instances


@dataclasses.dataclass(frozen=True)
class PseudoLabels(Sequence[PseudoLabel]):
    """The pseudo-labels of `pairs`, each read when it is asked for, with the instances
    of the same photographs, of `num_classes` classes, where they were looked for; both
    in the order of the split.
    """

    pairs: Pairs
    image: bool
    confidence: bool
    instances: Pairs | None
    num_classes: int

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> PseudoLabel:
        record, example = self.pairs[index]
        name = record["file_name"]
        return PseudoLabel(
            file_name=name,
            image=example.image if self.image else None,
            labels=tuple(record["labels"]),
            mask=decode_mask(record["mask"], name),
            confidence=decode_mask(record["confidence"], name) if self.confidence else None,
            instances=None
            if self.instances is None
            else found_instances(*self.instances.known(index), self.num_classes),
        )


def run(context: Context) -> dict:
    settings, pairs = context.config.export, Pairs(context, "labels", context.label_split)
    instances = None
    if "instances" in context.reads:
        instances = Pairs(context, "instances", context.label_split)
        instances.sort()
    # The export, and a network trained on it, do not depend on how many processes made
    # the pseudo-labels
    pairs.sort()
    class_names = context.dataset.class_names
    path = export(
        PseudoLabels(pairs, settings.image, settings.confidence, instances, len(class_names)),
        context.folder,
        format=settings.format,
        class_names=class_names,
        split=context.label_split,
    )
    return {"path": str(path), "format": settings.format, "records": len(pairs)}
