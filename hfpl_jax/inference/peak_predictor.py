"""The peaks of photographs of many sizes, and the response map of each, from a trained
classifier: in batches of a few padded shapes, one compilation a shape for the logits and
one for the responses.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple, Protocol, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.inference.multi_scale import Batch, MultiScale, Photograph, make_logits_function
from hfpl_jax.inference.peak_responses import batch_responses
from hfpl_jax.inference.predictor import Predictor, loaded, look, one_by_one
from hfpl_jax.losses import find_peaks
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.precision import PRODUCTS, with_products
from hfpl_jax.runtime.cores import available_cores
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, put_batch, replicated
from hfpl_jax.shapes import Array, Bool, Float, Int, typed

T = TypeVar("T")


class Classified(Photograph, Protocol):
    """A photograph of which is known what it shows.

    Attributes:
      classes: zero-based foreground classes whose peaks are looked for, ascending.
    """

    classes: np.ndarray


class Seen(NamedTuple):
    """What a classifier sees on a photograph, at the size it looks at it, [h, w].

    logits: [cells, cells, c]. peaks: [n, 3], (class, row, column) of the logits.
    responses: [n, h, w], their maps.
    """

    logits: np.ndarray
    peaks: np.ndarray
    responses: np.ndarray


@typed
def strong_peaks(
    logits: Float[np.ndarray, "h w c"],
    found: Bool[np.ndarray, "h w c"],
    classes: Int[np.ndarray, "n"],
    *,
    least: float,
    share: float = 0.0,
) -> Int[np.ndarray, "p 3"]:
    """(class, row, column) of a photograph's peaks, in this order: of its `classes` those
    whose logit is above `least`, and not below `share` of the highest of their class.

    Args:
      found: of `find_peaks`.
    """
    heights = np.where(found, logits, -np.inf)
    highest = heights.max(axis=(0, 1), initial=-np.inf)
    strong = found & (heights > least)
    if share:
        strong &= heights >= share * highest
    peaks = np.argwhere(strong.transpose(2, 0, 1))
    return peaks[np.isin(peaks[:, 0], classes)]


@dataclasses.dataclass(frozen=True)
class PeakPredictor:
    """A classifier whose peaks are asked where they come from.

    Attributes:
      network: of any method; its output has `logits`.
      variables: parameters and statistics, on every device of `mesh`.
      settings: of one scale, without mirror images.
      mesh: the devices of this process, among which a batch is divided.
      least, share: of `strong_peaks`.
      precision: of products, where the pipeline does not set one.
    """

    network: nn.Module
    variables: dict
    settings: MultiScale
    mesh: Mesh
    least: float
    share: float
    precision: str = PRODUCTS[0]

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Of the logits, and of 1 where one is a peak."""
        stride = self.network.backbone.output_stride

        def forward(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
            logits = self.network.apply(variables, images, sizes=sizes).logits
            own = inside(extent(sizes, stride), *logits.shape[1:3])
            return jnp.concatenate([logits, find_peaks(logits, own)], axis=-1)

        logits = with_products(make_logits_function(forward), self.precision)
        return Predictor(logits, self.variables, self.settings, stride, self.mesh)

    @functools.cached_property
    def respond(self) -> Callable[[dict, Array, Array, Array], jax.Array]:
        """The response maps [b, h, w] of one peak an image, compiled once for each
        shape.
        """

        def responses(variables: dict, images: Array, sizes: Array, peaks: Array) -> jax.Array:
            pixels = normalize(images, inside(sizes, *images.shape[1:3]))
            return batch_responses(self.network, variables, pixels, sizes, peaks)

        everywhere, split = replicated(self.mesh), batch_sharding(self.mesh)
        places = (everywhere, split, split, split)
        traced = with_products(responses, self.precision)
        return jax.jit(traced, in_shardings=places, out_shardings=split)

    def batches(
        self,
        photographs: Sequence[Classified],
        tasks: Sequence[Batch],
        shapes: Sequence[tuple[int, int]],
        merge: Callable[[int, Classified, Seen], T],
    ) -> Iterator[list[tuple[int, T]]]:
        """(index, what `merge` makes) of every photograph of a batch, batch by batch.

        Args:
          photographs, tasks, shapes: of `Predictor.batches`.
          merge: `merge(index, photograph, seen)`, a pure function, called on a few
            threads at once, while the device works on the next batch.
        """
        with futures.ThreadPoolExecutor(available_cores()) as pool:
            waiting: list[tuple[int, futures.Future]] = []
            for examples, (batch,) in loaded(photographs, tasks, shapes, self.settings):
                seen = self._seen(list(examples.values()), batch)
                begun = [
                    (index, pool.submit(merge, index, example, of_one))
                    for (index, example), of_one in zip(examples.items(), seen, strict=True)
                ]
                if waiting:
                    yield [(index, made.result()) for index, made in waiting]
                waiting = begun
            if waiting:
                yield [(index, made.result()) for index, made in waiting]

    def _seen(self, examples: Sequence[Classified], batch: dict[str, np.ndarray]) -> list[Seen]:
        compiled, stride = self.predictor.compiled, self.predictor.output_stride
        output = look(compiled, self.variables, batch, self.mesh, photographs=len(examples))
        maps = np.concatenate(jax.device_get(output))
        sizes = batch["sizes"]
        seen = []
        for example, both, (height, width) in zip(examples, maps, sizes, strict=False):
            both = both[: -(-height // stride), : -(-width // stride)]
            logits, found = np.split(both, 2, axis=-1)
            peaks = strong_peaks(
                logits, found > 0, example.classes, least=self.least, share=self.share
            )
            seen.append(Seen(logits, peaks, np.zeros((len(peaks), height, width), np.float32)))
        self._fill(seen, batch)
        return seen

    def _fill(self, seen: Sequence[Seen], batch: dict[str, np.ndarray]) -> None:
        """The responses of all peaks of a batch, as many at once as it has images, or on
        one CPU a peak after another: how they lie on the photographs does not matter.
        """
        places = [(row, number) for row, each in enumerate(seen) for number in range(len(each[1]))]
        count = 1 if one_by_one(self.mesh) else len(batch["images"])
        for at in range(0, len(places), count):
            part = places[at : at + count]
            rows = np.zeros(count, np.int64)
            peaks = np.zeros((count, 3), np.int32)
            for place, (row, number) in enumerate(part):
                rows[place], peaks[place] = row, seen[row].peaks[number]
            chosen = {"images": batch["images"][rows], "sizes": batch["sizes"][rows]}
            put = put_batch(self.mesh, {**chosen, "peaks": peaks})
            output = self.respond(self.variables, put["images"], put["sizes"], put["peaks"])
            responses = np.asarray(jax.device_get(output))
            for response, (row, number) in zip(responses, part, strict=False):
                own = seen[row].responses[number]
                own[:] = response[: own.shape[0], : own.shape[1]]
