"""A trained network and what it says of photographs that no dataset knows.

network = hfpl_jax.load("runs/mine")
for prediction in network.predict(["a.jpg", "b.png"]):
    prediction.mask, prediction.confidence, prediction.classes
"""

import abc
import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.inference.cam_record import as_stored
from hfpl_jax.inference.cams import probabilities, split_maps, summed_views
from hfpl_jax.inference.given_image import GivenImage, Image
from hfpl_jax.inference.multi_scale import Photograph, batches_by_shape
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.peak_predictor import PeakPredictor
from hfpl_jax.inference.predictor import Merge, Predictor
from hfpl_jax.inference.pseudo_labels import label_map_of, margin
from hfpl_jax.inference.segmentation import merged_probabilities, probabilities_of
from hfpl_jax.methods.method import Method
from hfpl_jax.model_file import FILE, SEGMENTATION, Model
from hfpl_jax.refine.crf import Crf
from hfpl_jax.refine.refiner import HostRefiner
from hfpl_jax.refine.refiner import Photograph as WithCams
from hfpl_jax.refine.threshold import Threshold

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network makes of a photograph.

    Attributes:
      mask: uint8 [h, w]: 0 background, 1 + class.
      confidence: uint8 [h, w]: 0 guessed .. 255 certain.
      classes: the zero-based foreground classes that were looked for, ascending.
    """

    mask: np.ndarray
    confidence: np.ndarray
    classes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class TrainedNetwork(abc.ABC):
    """A network with its parameters, as `load` finds it.

    Attributes:
      folder: of the training.
      model: what its model.json says.
      predictor: what makes maps of photographs.
    """

    folder: pathlib.Path
    model: Model
    predictor: Predictor

    @property
    def always_refines(self) -> bool:
        """Whether the run itself sharpens what it makes of photographs."""
        return self.model.network == SEGMENTATION and self.model.crf is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the mask values 1, 2, ..."""
        return self.model.class_names

    def predict(
        self, images: Iterable[Image], classes: Sequence[Iterable[str | int]] | None = None
    ) -> list[Prediction]:
        """The mask and the confidence of each image, in the order given.

        Args:
          images: uint8 [h, w, 3] arrays of RGB, or paths of JPEG or PNG files.
          classes: for each image the names, or zero-based numbers, of the classes that
            it shows; None where nobody says.
        """
        given = classes is not None
        return self._each(images, classes, self.merge(given=given))

    def merge(self, *, given: bool, refine: bool = False) -> Merge[Prediction]:
        """What makes a prediction of a photograph's maps.

        Args:
          given: whether the photographs' labels say which classes they show.
          refine: whether the CRF is to sharpen them.

        Raises:
          InputError: the run has not chosen, or has not got, what that needs.
        """
        if refine and self.model.crf is None:
            raise InputError(
                f"{self.folder / FILE} says that its run has no CRF "
                "(config.segmentation.crf.iterations = 0). Leave refine out, or set that field "
                "and give the command of the run again."
            )
        crf = self._crf() if refine or self.always_refines else None
        return functools.partial(self._prediction, given=given, crf=crf)

    @property
    @abc.abstractmethod
    def channels(self) -> tuple[str, ...]:
        """What the channels of `merged` are of."""

    @abc.abstractmethod
    def merged(
        self,
        maps: Sequence[jax.Array],
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
    ) -> jax.Array:
        """Of a photograph of `size`, [H, W, channels]: all maps before any threshold.

        Args:
          maps: logits [h, w, n], one a scale and summed over mirror images.
          scaled_sizes: height and width of the image each was made from.
        """

    @abc.abstractmethod
    def _prediction(
        self,
        index: int,
        photograph: Photograph,
        maps: list[np.ndarray],
        scaled_sizes: list[tuple[int, int]],
        *,
        given: bool,
        crf: Crf | None,
    ) -> Prediction: ...

    def _crf(self) -> Crf:
        """With the settings of the run."""
        try:
            return Crf.of(self.model.crf or {})
        except InputError as error:
            raise InputError(
                f"{self.folder / FILE} has settings of the CRF that this version does not take "
                f"({error}). Give the command of the run again: it makes the file anew."
            ) from error

    def _each(
        self,
        images: Iterable[Image],
        classes: Sequence[Iterable[str | int]] | None,
        merge: Merge[T],
    ) -> list[T]:
        sources = list(images)
        if classes is None:
            classes = [()] * len(sources)
        if len(classes) != len(sources):
            counts = f"There are classes for {len(classes)} images, but {len(sources)} images."
            raise InputError(f"{counts} Give a list of classes for each.")
        pictures = [
            GivenImage.of(number, source, self._indices(shown))
            for number, (source, shown) in enumerate(zip(sources, classes, strict=True))
        ]
        settings = self.predictor.settings
        sizes = {
            picture.file_name: settings.base_size((picture.height, picture.width))
            for picture in pictures
        }
        if not sizes:
            return []
        shapes = plan_shapes(np.asarray(list(sizes.values()), np.int64), self.model.padded_shapes)
        tasks = batches_by_shape(sizes, shapes, set(), settings.batch_size)
        made = dict(
            one for batch in self.predictor.batches(pictures, tasks, shapes, merge) for one in batch
        )
        return [made[index] for index in range(len(pictures))]

    def _indices(self, shown: Iterable[str | int]) -> np.ndarray:
        """Zero-based, ascending, of names or numbers."""
        return np.array(sorted({class_index(each, self.class_names) for each in shown}), np.int64)


@dataclasses.dataclass(frozen=True)
class TrainedClassifier(TrainedNetwork):
    """The network that a method's CAMs come from; and its peaks, where the run looks for
    instances by them.
    """

    method: Method
    peaks: PeakPredictor | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        return self.class_names

    def merged(
        self,
        maps: Sequence[jax.Array],
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
    ) -> jax.Array:
        """CAMs in [0, 1], as `cams` makes them of all classes."""
        classes = np.arange(len(self.class_names))
        cams = [of_scale[..., : -len(classes)] for of_scale in maps]  # see `split_maps`
        stride = self.predictor.output_stride
        return jnp.maximum(self.method.merge(cams, classes, scaled_sizes, size, stride), 0.0)

    def cams(
        self, images: Iterable[Image], classes: Sequence[Iterable[str | int]]
    ) -> list[np.ndarray]:
        """Maps float32 [h, w, n] in [0, 1] of the n classes of each image, in the order
        of the class names; arguments as those of `predict`.
        """

        def merge(index, photograph, maps, scaled_sizes) -> np.ndarray:
            cams, _ = self._cams(photograph, maps, scaled_sizes, given=True)
            return np.maximum(cams, 0.0)

        return self._each(images, classes, merge)

    def merge(self, *, given: bool, refine: bool = False) -> Merge[Prediction]:
        for name in ("threshold", *(() if given else ("class_cut",))):
            if getattr(self.model, name) is None:
                raise InputError(
                    f"{self.folder / FILE} has no {name} yet: the stage metrics of its run "
                    "chooses it. Give the command of the run again, which goes on from there."
                )
        return super().merge(given=given, refine=refine)

    def _cams(
        self,
        photograph: Photograph,
        maps: list[np.ndarray],
        scaled_sizes: list[tuple[int, int]],
        *,
        given: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The maps, and the classes that they are of."""
        views = summed_views(self.method, self.predictor.settings)
        maps, pooled = split_maps(maps, len(self.class_names), views=views)
        classes = photograph.labels
        if not given:
            classes = np.flatnonzero(probabilities(pooled) > np.float32(self.model.class_cut))
        size, stride = (photograph.height, photograph.width), self.predictor.output_stride
        return self.method.merge(maps, classes, scaled_sizes, size, stride), classes

    def _prediction(
        self, index, photograph, maps, scaled_sizes, *, given: bool, crf: Crf | None
    ) -> Prediction:
        cams, classes = self._cams(photograph, maps, scaled_sizes, given=given)
        cams = as_stored(cams)  # as the stages find them
        refiner: HostRefiner = crf or Threshold()
        pixels = photograph.pixels() if crf else np.zeros((0, 0, 3), np.uint8)
        made = refiner.refine(WithCams(pixels, cams, classes, self.model.threshold))
        return Prediction(made.mask, made.confidence, tuple(int(label) for label in classes))


@dataclasses.dataclass(frozen=True)
class TrainedSegmentation(TrainedNetwork):
    """The final network."""

    @property
    def channels(self) -> tuple[str, ...]:
        return ("background", *self.class_names)

    def merged(
        self,
        maps: Sequence[jax.Array],
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
    ) -> jax.Array:
        """Probabilities, before the CRF."""
        views = self.predictor.settings.views
        return merged_probabilities([each / views for each in maps], scaled_sizes, size)

    def _prediction(
        self, index, photograph, maps, scaled_sizes, *, given: bool, crf: Crf | None
    ) -> Prediction:
        classes = photograph.labels if given else np.arange(len(self.class_names))
        scores = probabilities_of(
            photograph,
            maps,
            scaled_sizes,
            views=self.predictor.settings.views,
            classes=classes,
            crf=crf.sharpened if crf else None,
        )
        mask = label_map_of(scores, classes)
        shown = classes if given else np.setdiff1d(mask, [0]).astype(np.int64) - 1
        return Prediction(mask, margin(scores), tuple(int(label) for label in shown))


def class_index(given: str | int, class_names: Sequence[str]) -> int:
    """The zero-based number of a class. Raises InputError if there is none such."""
    if isinstance(given, str) and given in class_names:
        return class_names.index(given)
    if isinstance(given, int | np.integer) and 0 <= given < len(class_names):
        return int(given)
    hint = in_brackets(did_you_mean(given, class_names)) if isinstance(given, str) else ""
    raise InputError(
        f"The network knows no class {given!r:.100}{hint}. Its classes are "
        f"{', '.join(class_names)}."
    )
