"""CAMs of one photograph by a method, network and merging, beside plain CAM's."""

import jax
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.networks import flops, method_variables
from experiments.benchmark.side import Side
from hfpl_jax.inference.cams import cam_mesh, cam_predictor, split_maps, summed_views
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.methods import METHODS
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.runtime import allocator
from hfpl_jax.runtime.sharding import put_batch, replicated

CLASSES_SHOWN = np.array([7, 11])
"""Of the photograph."""


def of_method(method: str, **options) -> Side:
    return _photograph(method, **options)


def of_cam(method: str, **options) -> Side:
    del method
    return _photograph("cam", **options)


def _photograph(name: str, *, backbone: str, height: int, width: int) -> Side:
    allocator.spare_memory()  # as the command does
    settings = MultiScale((1.0,), None, True, max(1, jax.device_count()))
    entry, method, size = BACKBONES[backbone], METHODS[name](), (height, width)
    network = method.network(
        entry.network(entry.settings()), CLASSES, frozen_batch_norm=True, dropout=0.0
    )
    mesh = cam_mesh(method, settings, "batch")
    variables = jax.device_put(method_variables(network), replicated(mesh))
    predictor = cam_predictor(network, method, variables, settings, mesh)
    image, _ = inputs.photograph(3, *size)
    views = np.stack([image, image[:, ::-1]] * settings.batch_size)
    batch = put_batch(mesh, {"images": views, "sizes": np.asarray([size] * len(views), np.int32)})

    def run() -> np.ndarray:
        maps = np.asarray(predictor.compiled(variables, *batch.values()))
        if len(maps) == len(views):  # else the method has made one of both
            maps = maps[::2] + maps[1::2, :, ::-1]
        maps, _ = split_maps([maps[0]], CLASSES, views=summed_views(method, settings))
        return method.merge(maps, CLASSES_SHOWN, [size], size, predictor.output_stride)

    work = flops(predictor.compiled.lower(variables, *batch.values()))
    return Side(
        run, lambda cams: {"cams": np.asarray(cams)}, flops=work, images=settings.batch_size
    )
