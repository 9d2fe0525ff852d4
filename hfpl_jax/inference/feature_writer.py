"""A frozen backbone looks at every photograph of some splits once, and what it sees is
stored: `data.stored_features` reads it.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import TypeVar

import flax.linen as nn
import jax
import numpy as np

from hfpl_jax.data.stored_features import PIXELS, cells, parts, parts_count
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.inference.distinct import Distinct, Size
from hfpl_jax.inference.multi_scale import Batch, MultiScale, Photograph
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.predictor import loaded, look, one_behind, write_records
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.frozen_features import FrozenFeatures
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.cores import available_cores
from hfpl_jax.runtime.records import Record
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, replicated

T = TypeVar("T")


def stored_bytes(size: Size, strides: Mapping[str, int], widths: Mapping[str, int]) -> int:
    """Of a photograph that the backbone sees at `size`, before compression: half floats
    of each layer, and colours.
    """
    of_layers = sum(2 * widths[name] * np.prod(cells(size, strides[name])) for name in strides)
    return int(of_layers + 3 * PIXELS**2 * np.prod(cells(size, min(strides.values()))))


@dataclasses.dataclass(frozen=True)
class FeaturePredictor:
    """A frozen backbone, and which of its features are kept.

    Attributes:
      variables: of the backbone, on every device of `mesh`.
      settings: of one scale, without mirror images.
      mesh: the devices of this process, among which a batch is divided.
    """

    backbone: nn.Module
    kept: FrozenFeatures
    variables: dict
    settings: MultiScale
    mesh: Mesh

    @functools.cached_property
    def compiled(self) -> Callable[[dict, jax.Array, jax.Array], dict[str, jax.Array]]:
        """Kept features of uint8 images [b, h, w, 3] of `sizes`, compiled once for each
        shape.
        """

        def features(variables: dict, images: jax.Array, sizes: jax.Array) -> dict:
            pixels = normalize(images, inside(sizes, *images.shape[1:3]))
            return self.kept.of(self.backbone.apply(variables, pixels, sizes=sizes))

        everywhere, split = replicated(self.mesh), batch_sharding(self.mesh)
        return jax.jit(features, in_shardings=(everywhere, split, split), out_shardings=split)

    @property
    def strides(self) -> dict[str, int]:
        """Of each layer that is kept."""
        return {name: self.backbone.strides[name] for name in self.kept.layers}

    def batches(
        self,
        photographs: Sequence[Photograph],
        tasks: Sequence[Batch],
        shapes: Sequence[Size],
        merge: Callable[[Photograph, np.ndarray, dict[str, np.ndarray]], T],
    ) -> Iterator[list[tuple[int, T]]]:
        """As those of `Predictor`, for `merge(photograph, what the backbone saw, its
        features by name)`.
        """
        computed = (
            (
                examples,
                batch,
                look(self.compiled, self.variables, batch, self.mesh, photographs=len(examples)),
            )
            for examples, (batch,) in loaded(photographs, tasks, shapes, self.settings)
        )
        with futures.ThreadPoolExecutor(available_cores()) as pool:
            for examples, batch, output in one_behind(computed):
                host = jax.tree.map(lambda *each: np.concatenate(each), *jax.device_get(output))

                def made(place, batch=batch, host=host) -> tuple[int, T]:
                    row, (index, photograph) = place
                    height, width = (int(side) for side in batch["sizes"][row])
                    maps = {
                        name: host[name][row][tuple(map(slice, cells((height, width), stride)))]
                        for name, stride in self.strides.items()
                    }
                    return index, merge(photograph, batch["images"][row, :height, :width], maps)

                yield list(pool.map(made, enumerate(examples.items())))


def write_features(
    predictor: FeaturePredictor,
    photographs: Distinct,
    directory: str | os.PathLike,
    *,
    padded_shapes: int,
    shard_size: int,
) -> None:
    """Stores those of this process's share that are not in whole shards yet.

    Args:
      padded_shapes: compilations of the backbone at most.
      shard_size: photographs a shard.
    """
    finest = min(predictor.strides.values())

    def merge(photograph: Photograph, seen: np.ndarray, maps: dict) -> list[Record]:
        height, width = cells(seen.shape[:2], finest)
        colours = resize(np.ascontiguousarray(seen), PIXELS * height, PIXELS * width)
        return parts(photograph.file_name, colours, maps)

    write_records(
        predictor,
        photographs,
        directory,
        merge=merge,
        sizes=photographs.sizes,
        shapes=plan_shapes(np.asarray(list(photographs.sizes.values()), np.int64), padded_shapes),
        shard_size=shard_size,
        parts=parts_count(len(predictor.strides)),
        title="features",
    )
