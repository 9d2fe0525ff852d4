"""Pretrains the backbone on photographs without labels; networks that would start from
random numbers start from what it has learnt.
"""

import functools
import logging
import pathlib

from hfpl_jax.build import initial_variables, make_network, variable_shapes
from hfpl_jax.data.transforms.two_views import TwoViews
from hfpl_jax.stages.context import Context
from hfpl_jax.training.fit import Fit, fit
from hfpl_jax.training.objectives.amdim import VIEWS, Amdim, Pretrain

_LOG = logging.getLogger(__name__)

NAME = "pretrain"


def folder(context: Context) -> pathlib.Path | None:
    """Of the finished pretraining that a stage reads; None where it reads none."""
    return context.first / NAME if NAME in context.reads else None


def run(context: Context) -> dict:
    config, settings = context.config, context.config.pretrain
    split = context.dataset.split(settings.split or config.data.train_split)
    _LOG.info("Pretraining on %d photographs, without their labels.", len(split))
    network = make_network(config, Pretrain.path, 0)
    job = Fit(
        network=network,
        objective=Amdim(),
        variables=functools.partial(initial_variables, config, network, None),
        shapes=functools.partial(variable_shapes, network),
        source=split,
        transform=TwoViews(settings.crop_size, settings.jitter),
        rows=VIEWS,
        section=Pretrain.path,
        settings=settings,
    )
    return fit(job, context.folder, seed=config.seed, run=config.run)
