"""CAM records of photographs of mixed sizes: ours, batched in a few padded shapes, and
one image and one scale at a time, in JAX.
"""

import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.networks import flops
from experiments.benchmark.side import Side
from experiments.benchmark.weights import seam_network, seam_variables
from hfpl_jax.data.example import Example, decode_image
from hfpl_jax.data.transforms.resample import resize_for_scale
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.cams import cam_mesh, cam_predictor, write_cams
from hfpl_jax.inference.multi_scale import LoadBatch, MultiScale, batches_by_shape
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.methods.merge import merge_cams
from hfpl_jax.methods.seam import Seam
from hfpl_jax.runtime import allocator
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import replicated

BATCH, PADDED_SHAPES = 4, 4


class _Photographs(list[Example]):
    """As a split: with a name."""

    name = "photographs"


def _examples(photographs: Sequence[tuple[int, int]]) -> _Photographs:
    return _Photographs(inputs.example(index, *size) for index, size in enumerate(photographs))


def ours(photographs: Sequence[tuple[int, int]], scales: Sequence[float]) -> Side:
    allocator.spare_memory()  # as the command does
    examples, folder = _examples(photographs), tempfile.TemporaryDirectory()
    batch = max(BATCH, jax.device_count())
    settings = MultiScale(tuple(scales), None, True, batch)
    network, method = seam_network("resnet50", CLASSES), Seam()
    mesh = cam_mesh(method, settings, "batch")
    variables = jax.device_put(seam_variables(network), replicated(mesh))
    predictor = cam_predictor(network, method, variables, settings, mesh)
    sizes = {example.file_name: (example.height, example.width) for example in examples}
    shapes = plan_shapes(np.asarray(list(sizes.values()), np.int64), PADDED_SHAPES)
    path = pathlib.Path(folder.name) / "cams"
    load = LoadBatch(examples, settings, tuple(shapes))
    work = sum(
        flops(predictor.compiled.lower(variables, *of_scale.values())) or 0.0
        for task in batches_by_shape(sizes, shapes, set(), batch)
        for of_scale in load.map(task)[1]
    )

    def run(folder=folder) -> pathlib.Path:
        shutil.rmtree(path, ignore_errors=True)  # else nothing is left to do
        write_cams(
            predictor,
            examples,
            path,
            method=method,
            num_classes=CLASSES,
            image_labels="given",
            sizes=sizes,
            shapes=shapes,
            shard_size=64,
        )
        return path

    def numbers(path: pathlib.Path) -> dict[str, np.ndarray]:
        return {
            record.file_name: record.cams for record in map(CamRecord.decode, RecordReader(path))
        }

    return Side(run, numbers, flops=work, images=len(examples))


def one_by_one(photographs: Sequence[tuple[int, int]], scales: Sequence[float]) -> Side:
    """In JAX, where PyTorch is missing; each size of an image is compiled once."""
    examples = _examples(photographs)
    network = seam_network("resnet50", CLASSES)
    variables = jax.device_put(seam_variables(network))
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    settings = MultiScale(tuple(scales), None, True, 1)
    cam_logits = cam_predictor(network, Seam(), variables, settings, mesh).logits

    def maps(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
        size = jnp.asarray([image.shape[:2]], jnp.int32)
        plain, mirrored = (
            np.asarray(cam_logits(variables, each[None], size))[0][..., classes]
            for each in (image, image[:, ::-1])
        )
        return plain + mirrored[:, ::-1]

    def run() -> dict[str, np.ndarray]:
        made = {}
        for example in examples:
            image = decode_image(example.image, example.file_name)
            scaled = [resize_for_scale(image, scale) for scale in scales]
            sizes = [each.shape[:2] for each in scaled]
            made[example.file_name] = merge_cams(
                [maps(each, example.labels) for each in scaled], sizes, image.shape[:2]
            )
        return made

    return Side(
        run,
        lambda cams: {name: np.clip(maps, 0.0, 1.0) for name, maps in cams.items()},
        images=len(examples),
    )
