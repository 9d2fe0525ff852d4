"""All settings of a run, and what one section asks of another."""

import dataclasses
from typing import ClassVar, Self

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.weights.read import RANDOM
from hfpl_jax.refine.refiner import LearningRefiner, PretrainedRefiner
from hfpl_jax.retrieval.settings import Neighbours
from hfpl_jax.section import Section
from hfpl_jax.setting import at_least, setting, within
from hfpl_jax.settings.instances import Instances
from hfpl_jax.settings.labels import Inference, Labels, Refine, given_threshold
from hfpl_jax.settings.model import Data, Hfpl, Method, Model
from hfpl_jax.settings.training import Segmentation, Train
from hfpl_jax.settings.work import Export, Report, Run
from hfpl_jax.training.objectives.amdim import Pretrain, least_crop
from hfpl_jax.training.settings import Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Section):
    """Every field of a configuration."""

    path: ClassVar[str] = ""

    seed: int = setting(0, "of parameters, batches and draws", within(0, 2**32 - 1))
    profile: str = setting(
        "", "a stage, of which ten steps are traced into its folder, for TensorBoard or Perfetto"
    )
    rounds: int = setting(
        1,
        "how often all from the CAMs to the final network is done; from the second on, what the "
        "final network of the round before sees takes the place of the CAMs",
        at_least(1),
    )
    data: Data
    model: Model
    method: Method
    hfpl: Hfpl
    neighbours: Neighbours
    pretrain: Pretrain
    train: Train
    inference: Inference
    labels: Labels
    refine: Refine
    instances: Instances
    segmentation: Segmentation
    export: Export
    report: Report
    run: Run

    @classmethod
    def of(cls, config: ConfigDict) -> Self:
        """The settings in a configuration.

        Raises:
          InputError: a field that is not known, missing or holds an unusable value;
            sections that do not go together.
        """
        settings = super().of(config.to_dict())
        settings.check_backbone()
        settings.check_frozen()
        settings.check_pretraining()
        settings.check_crops()
        settings.check_frozen_stages()
        settings.check_instances()
        settings.check_final_network()
        settings.check_rounds()
        settings.check_neighbours()
        settings.check_background()
        settings.check_pretrained()
        settings.refine.own.check(
            threshold=settings.known_threshold,
            output_stride=settings.model.output_stride,
        )
        return settings

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Of the networks that this run trains."""
        refiner = self.refine.own
        return (
            *((self.pretrain,) if self.pretrain.epochs else ()),
            self.train,
            *((refiner.trained,) if isinstance(refiner, LearningRefiner) else ()),
            *((self.segmentation,) if self.segmentation.epochs else ()),
        )

    @property
    def known_threshold(self) -> float | None:
        """The background score, where it is the method's own or was given; None where
        it is chosen on masks.
        """
        own = self.method.own.threshold
        return given_threshold(self.labels.threshold) if own is None else own

    def check_crops(self) -> None:
        """Every crop holds what its loss looks at."""
        stride = self.model.output_stride
        for training in self.trainings:
            if training.crop_size < stride:
                raise InputError(
                    f"config.{training.path}.crop_size = {training.crop_size} is less than one "
                    f"cell of the network's maps, {stride} pixels. Set it to {stride} at least."
                )
        self.method.own.check_crop(self.train.crop_size, stride)

    def check_backbone(self) -> None:
        """It is one that the method can do with."""
        self.method.own.check_backbone(self.model.network, self.model.backbone)

    def check_frozen(self) -> None:
        """Features are those of the backbone in config.model.weights, as it is there, and
        at least as large as a crop.
        """
        if not self.method.own.frozen:
            return
        title = self.method.own.title
        self._check_weights("the frozen backbone is made of it")
        if self.model.suppression:
            raise InputError(
                f"config.model.suppression = {self.model.suppression!r} has to be learnt with, but "
                f"the backbone of {title} is frozen. Leave it empty."
            )
        if self.train.init_from:
            raise InputError(
                f"config.train.init_from = {self.train.init_from!r} may bring another backbone "
                f"than the one whose features {title} has stored. Leave it empty: a training "
                "of the head alone is short."
            )
        side = self.method.own.kept(self.model.network).long_side
        if self.train.crop_size > side:
            raise InputError(
                f"config.train.crop_size = {self.train.crop_size} is more than {side} pixels, "
                f"the long side at which {title} has stored photographs: crops would be padding "
                f"for the most part. Set it to {side} at most, such as {2 * side // 3}."
            )

    def check_pretraining(self) -> None:
        """There is a backbone of convolutions to pretrain, and something starts from it."""
        if not self.pretrain.epochs:
            return
        field = f"config.pretrain.epochs = {self.pretrain.epochs}"
        if self.model.weights != RANDOM:
            raise InputError(
                f"{field} makes a backbone in the place of random weights, but "
                f"config.model.weights is {self.model.weights!r}. Set that to {RANDOM!r}, or the "
                "epochs to 0 to start from the file alone."
            )
        if self.method.own.frozen:
            raise InputError(
                f"{field} is for networks that go on learning, but the backbone of "
                f"{self.method.own.title} is frozen. Set it to 0, or choose another "
                "config.method.name."
            )
        if isinstance(self.model.network, Vit):
            raise InputError(
                f"{field} learns from maps of convolutions, but config.model.backbone = "
                f"{self.model.backbone!r} is a transformer. Choose one of convolutions, such as "
                "'resnet50', or set it to 0."
            )
        if self.train.init_from:
            raise InputError(
                f"{field} makes what the classifier starts from, but config.train.init_from = "
                f"{self.train.init_from!r} names another start. Leave one of the two out."
            )
        least = least_crop(self.model.network)
        if self.pretrain.crop_size < least:
            raise InputError(
                f"config.pretrain.crop_size = {self.pretrain.crop_size} gives the backbone "
                f"maps too small for 7x7 and 5x5 parts. Set it to {least} at least."
            )
        split = self.pretrain.split or self.data.train_split
        if split == self.data.val_split and not self.data.allow_overlap:
            raise InputError(
                f"config.pretrain.split and config.data.val_split are both {split!r}, so the "
                f"figures of {split} would be of photographs that the run has learnt from. Name "
                "another split, or set config.data.allow_overlap = True."
            )

    def check_frozen_stages(self) -> None:
        """The backbone has the stages that stay as they are; at random none do."""
        stages = self.model.network.stages
        for training in self.trainings:
            random = self.model.weights == RANDOM and not training.init_from
            if training.freeze_stages > len(stages) and not random:
                raise InputError(
                    f"config.{training.path}.freeze_stages = {training.freeze_stages}, but "
                    f"{self.model.backbone} has {len(stages)} stages: {', '.join(stages)}. Set it "
                    f"to {len(stages)} at most."
                )

    def check_background(self) -> None:
        """The refiner's maps have the background that the CAMs have."""
        if self.refine.own.stretches and self.method.own.threshold is not None:
            raise InputError(
                f"config.refine.name = {self.refine.name!r} makes maps anew, whose background is "
                f"below a threshold, but {self.method.own.title} knows its background itself. "
                "Choose another refiner, such as crf, or another config.method.name."
            )

    def check_instances(self) -> None:
        """Peaks are traced back through convolutions."""
        if self.instances.enabled and self.method.own.frozen:
            raise InputError(
                "config.instances.enabled = True traces peaks back through a network that has "
                f"learnt them, but the backbone of {self.method.own.title} is frozen. Set it to "
                "False, or choose another config.method.name."
            )
        if self.instances.enabled and isinstance(self.model.network, Vit):
            raise InputError(
                "config.instances.enabled = True traces peaks back through convolutions, but "
                f"config.model.backbone = {self.model.backbone!r} is a transformer. Choose one of "
                "convolutions, such as 'resnet50', or set it to False."
            )

    def check_final_network(self) -> None:
        """The segmentation network has an export to learn from and a split to score."""
        if not self.segmentation.epochs:
            return
        if "array_record" not in self.export.formats or not self.export.image:
            raise InputError(
                "The segmentation network (config.segmentation.epochs) learns from the export in "
                'random order. Name "array_record" among config.export.formats and set '
                "config.export.image to True."
            )
        if not self.data.val_split:
            raise InputError(
                "The segmentation network is scored on val, but config.data.val_split is empty. "
                "Name a split, or set config.segmentation.epochs to 0."
            )
        objective = self.segmentation.own_objective
        if (objective.splits or objective.beside) and not self.export.confidence:
            raise InputError(
                f"config.segmentation.objective = {self.segmentation.objective!r} tells labelled "
                "photographs from others by their confidence maps. Set config.export.confidence "
                "to True."
            )
        self.segmentation.own_loss.check(self.segmentation.crop_size, self.model.output_stride)

    def check_rounds(self) -> None:
        """A round begins with what the final network of the one before sees."""
        if self.rounds > 1 and not self.segmentation.epochs:
            raise InputError(
                f"config.rounds = {self.rounds} asks for rounds of a final network, but "
                "config.segmentation.epochs is 0. Set that to the passes over the pseudo-labels, "
                "such as 30, or config.rounds to 1."
            )

    @property
    def finds_neighbours(self) -> bool:
        return self.neighbours.enabled or self.method.own.by_likeness

    def check_neighbours(self) -> None:
        """There is a network to find them with, also where no training starts from it."""
        if self.finds_neighbours:
            field = "config.neighbours.enabled"
            if self.method.own.by_likeness:
                field = f"config.{self.method.own.path}.neighbours"
            self._check_weights(f"neighbours are found with it ({field})")

    def check_pretrained(self) -> None:
        """A refiner that looks with the pretrained backbone has one."""
        if isinstance(self.refine.own, PretrainedRefiner):
            name = self.refine.name
            self._check_weights(f"config.refine.name = {name!r} looks at photographs with it")

    def _check_weights(self, why: str) -> None:
        if not self.model.weights:
            raise InputError(
                f"config.model.weights is empty, but {why}. Set it to a file of ImageNet weights, "
                f"such as resnet50.safetensors, or to {RANDOM!r}."
            )
