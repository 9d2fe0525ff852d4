"""Finds the instances of the splits that have CAMs, by the peaks of the classifier: one
folder of records a split.
"""

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from hfpl_jax.build import build_network, trained_variables
from hfpl_jax.data.dataset import Example, decode_mask
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.given_proposals import GivenProposals
from hfpl_jax.inference.instances import Proposals, ProposedExample, write_instances
from hfpl_jax.inference.multi_scale import MultiScale, photograph_sizes
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.peak_predictor import PeakPredictor
from hfpl_jax.masks import label_map
from hfpl_jax.runtime import atomic, distributed
from hfpl_jax.runtime.progress import track
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.settings.instances import Instances
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.metrics import read_metrics
from hfpl_jax.stages.pairs import Pairs
from hfpl_jax.stages.score_instances import score_instances
from hfpl_jax.stages.scoring import METRICS_FILE, scored_names

_LOG = logging.getLogger(__name__)


def run(context: Context) -> dict:
    config, settings = context.config, Instances.of(context.config.instances)
    one_scale = MultiScale(
        scales=(1.0,),
        long_side=config.inference.long_side or None,
        flip=False,
        batch_size=config.run.cam_batch_size,
    )
    mesh = local_mesh(config.run.cam_batch_size, "config.run.cam_batch_size")
    network = build_network(config, len(context.dataset.class_names))
    predictor = PeakPredictor(
        network,
        trained_variables(network, context.workdir / "train", mesh),
        one_scale,
        mesh,
        least=settings.peak_threshold,
        share=settings.peak_share,
    )
    given = settings.given()
    splits = {name: context.dataset.split(name) for name in dict.fromkeys(context.roles.values())}
    sizes = {name: photograph_sizes(split, one_scale) for name, split in splits.items()}
    shapes = plan_shapes(
        np.asarray([size for of_split in sizes.values() for size in of_split.values()], np.int64),
        config.run.padded_shapes,
    )
    for name in splits:
        write_instances(
            predictor,
            Photographs(context, name, given),
            context.folder / name,
            name=name,
            sizes=sizes[name],
            shapes=shapes,
            shard_size=config.run.shard_size,
        )
    return _scored(context)


@dataclasses.dataclass(frozen=True)
class _Given(ProposedExample):
    """One whose proposals are those in a file."""

    given: GivenProposals

    def proposals(self) -> Proposals:
        return self.given.of(self.file_name, (self.height, self.width))


class Photographs(Sequence[ProposedExample]):
    """Of a split, in its order; those whose masks the refiner does not make have the
    ones that the CAMs were scored with.
    """

    def __init__(self, context: Context, split: str, given: GivenProposals | None):
        self._given, self._cams = given, Pairs(context, "cams", split)
        self._cams.sort()
        self._masks = None
        self._threshold = read_metrics(context.workdir / "metrics")["threshold"]
        if (context.workdir / "labels" / split).is_dir():
            self._masks = Pairs(context, "labels", split)
            self._masks.sort()

    def __len__(self) -> int:
        return len(self._cams)

    def __getitem__(self, index: int) -> ProposedExample:
        record, example = self._cams[index]
        cams = CamRecord.decode(record)
        if self._masks:
            mask = decode_mask(self._masks.known(index)[0]["mask"], example.file_name)
        else:
            mask = label_map(cams.cams, cams.classes, threshold=self._threshold)
        if self._given:
            return _Given(example, cams.classes, mask, self._given)
        return ProposedExample(example, cams.classes, mask)


def _scored(context: Context) -> dict:
    """Counts the instances, and scores them where true ones are known; metrics.json
    holds the figures. Each process reads all of them.
    """
    distributed.meet()  # all records are there
    metrics: dict[str, float] = {}
    for role, split in context.roles.items():
        found = [len(record["instances"]) for record in Pairs(context, "instances", split).records]
        metrics[f"{role}/instances/found"] = sum(found)
        _LOG.info("%d instances on %d photographs of %s.", sum(found), len(found), split)
        metrics |= score_instances(
            _chosen(context, role, split), context.dataset.class_names, f"{role}/instances"
        )
    if distributed.is_first():
        atomic.atomic_write(context.folder / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return metrics


def _chosen(context: Context, role: str, split: str) -> Iterator[tuple[dict, Example]]:
    names, pairs = scored_names(context, role), Pairs(context, "instances", split)
    for record, example in track(pairs, f"scoring {split}", len(pairs)):
        if names is None or example.file_name in names:
            yield record, example
