"""Whether every training has what it starts from, before the first photograph is read.

One that has begun goes on from its checkpoints and needs no other file. Which training
is wanted depends on the photographs too, but one of these settings has begun, of
whatever photographs, or none has: that is known before.
"""

import logging
import pathlib
from collections.abc import Collection, Sequence

from ml_collections import ConfigDict

from hfpl_jax.build import build_refiner, make_network, variable_shapes
from hfpl_jax.data.content_hashes import ContentHashes
from hfpl_jax.errors import InputError
from hfpl_jax.fingerprint import settings_of
from hfpl_jax.methods import METHODS
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.weights.read import RANDOM
from hfpl_jax.refine.refiner import PretrainedRefiner
from hfpl_jax.runtime.manifest import MANIFEST, read_manifest
from hfpl_jax.section import value_of
from hfpl_jax.stages.stage import Stage
from hfpl_jax.training.checkpoint import has_checkpoints
from hfpl_jax.training.start import check_finished

_LOG = logging.getLogger(__name__)


def check_starts(
    config: ConfigDict,
    workdir: pathlib.Path,
    trainings: Sequence[Stage],
    stages: Collection[str],
    hashes: ContentHashes,
) -> None:
    """Looks at the files that trainings start from, as far as they are needed.

    Args:
      config: whose settings were checked.
      workdir: where trainings may have begun.
      trainings: the stages of this configuration that train.
      stages: names of those to run.
      hashes: of files.

    Raises:
      InputError: a file or a run to start from that is not named, not there, or does
        not fit.
    """
    named = [stage for stage in trainings if stage.name in stages]
    wanted = list(dict.fromkeys(stage.training for stage in named))
    init_from = {section: value_of(config, section).init_from for section in wanted}
    _check_named(config, [section for section in wanted if not init_from[section]])
    waiting = [stage for stage in named if not has_begun(stage, config, workdir, hashes)]
    starting = list(dict.fromkeys(stage.training for stage in waiting))
    for section in starting:
        if init_from[section]:
            check_finished(init_from[section], section)
    pretrained = [section for section in starting if not init_from[section]]
    if "labels" in stages and isinstance(build_refiner(config), PretrainedRefiner):
        pretrained += starting  # the refiner needs it once they are done
    if pretrained and config.model.weights != RANDOM:  # one file for the backbones of all of them
        network = make_network(config, pretrained[0], 1)
        load_backbone(config.model.weights, variable_shapes(network), network.backbone)


def has_begun(
    stage: Stage, config: ConfigDict, workdir: pathlib.Path, hashes: ContentHashes
) -> bool:
    """Whether a training of these settings has a checkpoint in the workdir.

    Raises:
      InputError: a file that it starts from was never seen, so none can have begun.
    """
    settings = settings_of(stage, config, hashes)
    for path in (workdir / stage.name).glob(f"*/{MANIFEST}"):
        if has_checkpoints(path.parent):
            try:
                found = read_manifest(path.parent).get("settings")
            except InputError:  # told where it is the wanted one
                continue
            if found == settings:
                return True
    return False


def _check_named(config: ConfigDict, sections: list[str]) -> None:
    """Whether config.model.weights says what the networks of these sections start
    from.
    """
    if not sections:
        return
    weights = config.model.weights
    if not weights:
        raise InputError(
            f"config.model.weights is empty, but the network of config.{sections[0]} starts from "
            "it. Set it to a file of ImageNet weights, such as resnet50.safetensors, or to "
            f"{RANDOM!r} to train from random numbers."
        )
    frozen = config.model.frozen_batch_norm or any(
        value_of(config, section).freeze_stages or value_of(config, section).freeze_norms
        for section in sections
    )
    if weights == RANDOM and frozen and not METHODS[config.method.name].frozen:
        _LOG.info("config.model.weights is %r, so nothing is frozen.", RANDOM)
