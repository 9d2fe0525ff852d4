"""The descriptors of whole splits: a pretrained backbone looks at each photograph once,
and once more at those that PWA's channels and whitening are fitted on.

What is kept on the way are records, so that a killed run goes on and several processes
share the work: k channel sums and then 25 k numbers of each photograph fitted on (for
the k = 2,048 channels of a ResNet-50 8 kB and 205 kB, 436 MB of 2,048 photographs), and
of every other its descriptor, 2 kB at most.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.dataset import Split
from hfpl_jax.data.part import Part
from hfpl_jax.inference.multi_scale import (
    MultiScale,
    Photograph,
    make_logits_function,
    photograph_sizes,
)
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.predictor import Merge, Predictor, write_records
from hfpl_jax.models.backbones.backbone import Backbone
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.frozen_features import widths
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.retrieval.descriptors import (
    PARTS,
    channel_sums,
    part_channels,
    part_descriptors,
)
from hfpl_jax.retrieval.whitening import Whitening, fit_whitening, kept_dimensions
from hfpl_jax.runtime import atomic, distributed
from hfpl_jax.runtime.records import Record, RecordReader
from hfpl_jax.runtime.sharding import Mesh, replicated

FITTED_ON = 2048
"""Photographs at most: enough for 512 dimensions, and few enough to hold."""

Make = Callable[[np.ndarray], np.ndarray]
Row = tuple[str, list[int], np.ndarray]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Described:
    """The photographs of a split.

    Attributes:
      names: of their files.
      labels: the zero-based foreground classes of each.
      vectors: float32 [n, d], their descriptors, whitened and of length 1.
    """

    names: tuple[str, ...]
    labels: tuple[list[int], ...]
    vectors: np.ndarray


def descriptor_predictor(
    backbone: Backbone, variables: dict, settings: MultiScale, mesh: Mesh
) -> Predictor:
    """Of each photograph the k channel sums, and behind them the descriptor of the
    channels among the variables: one program for both.
    """

    def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        found = backbone.apply(variables["backbone"], images, sizes=sizes)
        features = nn.relu(found[backbone.head_feature])
        valid = inside(extent(sizes, backbone.output_stride), *features.shape[1:3])
        described = part_descriptors(features, variables["channels"], valid)
        return jnp.concatenate([channel_sums(features, valid), described], axis=-1)[:, None, None]

    channels = np.arange(min(PARTS, feature_width(backbone)), dtype=np.int32)  # any, for the sums
    placed = jax.device_put({"backbone": variables, "channels": channels}, replicated(mesh))
    logits = make_logits_function(forward)
    return Predictor(logits, placed, settings, backbone.output_stride, mesh)


def feature_width(backbone: Backbone) -> int:
    """k, the channels of what a classification head reads."""
    return widths(backbone)[backbone.head_feature]


def describe(
    predictor: Predictor,
    splits: Sequence[Split],
    folder: pathlib.Path,
    *,
    width: int,
    padded_shapes: int,
    shard_size: int,
) -> list[Described]:
    """Fits on the first split, and describes all of them; several processes share the
    work, and have the same at the end.

    Args:
      predictor: of `descriptor_predictor`.
      splits: the training split, then others.
      folder: of all records.
      width: k of the predictor's sums.
      padded_shapes: compilations of the network at most.
      shard_size: records a shard.
    """
    whole = [Part(split, range(len(split))) for split in splits]
    count = min(len(splits[0]), FITTED_ON)
    chosen = [place * len(splits[0]) // count for place in range(count)]  # evenly spaced
    fitted = Part(splits[0], chosen)
    rest = Part(splits[0], sorted(set(whole[0].indices) - set(chosen)))
    parts = [fitted, rest, *whole[1:]]
    sizes = [photograph_sizes(part, predictor.settings) for part in parts]
    shapes = plan_shapes(
        np.asarray([size for of_part in sizes for size in of_part.values()], np.int64),
        padded_shapes,
    )

    def records(number: int, kind: str, predictor: Predictor, make: Make) -> pathlib.Path:
        """The folder of a part's records, once all processes have filled it."""
        place = folder / f"{number} {kind}"
        write_records(
            predictor,
            parts[number],
            place,
            merge=_record(parts[number], make),
            sizes=sizes[number],
            shapes=shapes,
            shard_size=shard_size,
            title=f"{kind} of {parts[number].name}",
        )
        distributed.meet()
        return place

    sums = records(0, "channels", predictor, lambda values: values[:width])
    parted = _with_channels(predictor, part_channels(_vectors(_rows(sums))))
    of_parts = records(0, "parts", parted, lambda values: values[width:])
    with distributed.first_before_others():
        whitening = _whitening(folder / "whitening.npz", of_parts)

    def whitened(vector: np.ndarray) -> np.ndarray:
        return whitening.apply(vector[None])[0]

    rows = [_rows(of_parts, whitened)]
    for number in range(1, len(parts)):
        place = records(number, "descriptors", parted, lambda values: whitened(values[width:]))
        rows.append(_rows(place) if parts[number] else {})
    return [_described(of_split) for of_split in ({**rows[0], **rows[1]}, *rows[2:])]


def _with_channels(predictor: Predictor, channels: np.ndarray) -> Predictor:
    placed = jax.device_put(channels.astype(np.int32), replicated(predictor.mesh))
    return dataclasses.replace(predictor, variables={**predictor.variables, "channels": placed})


def _record(part: Part, make: Make) -> Merge[Record]:
    """What becomes of a photograph: `make` of what the predictor gives."""

    def merge(
        index: int, example: Photograph, maps: list[np.ndarray], scaled_sizes: list
    ) -> Record:
        return {
            "index": part.indices[index],
            "file_name": example.file_name,
            "labels": [int(label) for label in example.labels],
            "vector": make(maps[0][0, 0]),
        }

    return merge


def _rows(folder: pathlib.Path, make: Make = np.asarray) -> dict[int, Row]:
    """Index of a photograph -> its name, its labels, `make` of its vector."""
    reader = RecordReader(folder)
    records = (reader[place] for place in range(len(reader)))
    return {
        record["index"]: (record["file_name"], record["labels"], make(record["vector"]))
        for record in records
    }


def _vectors(rows: dict[int, Row]) -> np.ndarray:
    return np.stack([rows[index][2] for index in sorted(rows)])


def _described(rows: dict[int, Row]) -> Described:
    names, labels, vectors = zip(*(rows[index] for index in sorted(rows)), strict=True)
    return Described(names, labels, np.stack(vectors))


def _whitening(path: pathlib.Path, of_parts: pathlib.Path) -> Whitening:
    """Fitted once, and the same for all processes: two computers may choose other signs
    of its components.
    """
    if not path.exists():
        vectors = _vectors(_rows(of_parts))
        _LOG.info("Whitening %d descriptors of %d numbers.", *vectors.shape)
        fitted = fit_whitening(vectors, kept_dimensions(len(vectors)))
        with atomic.atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(fitted))
    with np.load(path, allow_pickle=False) as arrays:
        return Whitening(**arrays)
