"""Affinity labels, affinity loss and random walk, held against the published
program.
"""

import pathlib

import jax
import numpy as np

from experiments.parity.check import Check, relative_error
from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.losses.affinity import (
    RADIUS,
    affinity_loss,
    half_plane_offsets,
    map_radius,
    pair_masks,
)
from hfpl_jax.refine.random_walk import upsample_walked, walk


def check_labels(goldens: pathlib.Path) -> list[Check]:
    """affinity_labels.npz: the three masks of the pairs of a label map, and the loss of
    given affinities.
    """
    with np.load(goldens / "affinity_labels.npz") as golden:
        labels = golden["label"][None]
        masks = jax.jit(pair_masks)(labels)
        differing = [
            (name, float(np.mean(np.asarray(mask[0]) != golden[key])))
            for name, mask, key in zip(masks._fields, masks, ("bg", "fg", "neg"), strict=True)
        ]
        loss = jax.jit(affinity_loss)(golden["aff"][None], labels)
        return [
            *(Check("affinity labels", f"{name} pairs", share, 0.0) for name, share in differing),
            Check("affinity loss", "loss", relative_error(loss, golden["loss"]), 1e-5),
        ]


def dense_pairs(affinities: np.ndarray, height: int, width: int) -> np.ndarray:
    """[offsets, sources] affinities as the off-diagonal part of the symmetric [n, n]
    matrix, n = height * width.
    """
    pixels = np.arange(height * width).reshape(height, width)
    radius = map_radius(height, width)
    reach = radius - 1
    sources = pixels[: height - reach, reach : width - reach].ravel()
    dense = np.zeros((pixels.size, pixels.size), affinities.dtype)
    for (dy, dx), row in zip(half_plane_offsets(radius), affinities, strict=True):
        targets = sources + dy * width + dx
        dense[sources, targets] = dense[targets, sources] = row
    return dense


def stencil_of(dense: np.ndarray, height: int, width: int) -> np.ndarray:
    """Entries of a dense [n, n] matrix in the layout of the walk, [1, offsets, height,
    width].
    """
    offsets = half_plane_offsets(RADIUS)
    stencil = np.zeros((1, len(offsets), height, width), dense.dtype)
    for index, (dy, dx) in enumerate(offsets):
        row, column = np.mgrid[: max(0, height - dy), max(0, -dx) : min(width, width - dx)]
        source = row * width + column
        stencil[0, index, row, column] = dense[source, source + dy * width + dx]
    return stencil


def check_walk(goldens: pathlib.Path) -> list[Check]:
    """affinity.npz: which pairs the dense matrix holds, and the scores walked over that
    matrix.
    """
    with np.load(goldens / "affinity.npz") as golden:
        walked, raised, dense = golden["rw"], golden["rw_up"], golden["aff_dense"]
        height, width = walked.shape[2:]
        cell = raised.shape[2] // height
        pairs = dense_pairs(golden["aff_pairs"][0], height, width)
        scores = average_pool(golden["cam"].transpose(1, 2, 0), cell)[None]
        ours = jax.jit(walk, static_argnames=("beta", "steps"))(
            stencil_of(dense, height, width),
            scores,
            beta=int(golden["beta"]),
            steps=2 ** int(golden["logt"]),
        )
        return [
            Check(
                "affinity",
                "pairs of the dense matrix",
                relative_error(pairs, dense - np.eye(len(dense), dtype=dense.dtype)),
                0.0,
            ),
            Check(
                "random walk",
                "walked scores",
                relative_error(ours.transpose(0, 3, 1, 2), walked),
                1e-4,
            ),
            # Half a unit in the last place of float16 is 5e-4 of the value.
            Check(
                "random walk",
                "upsampled scores",
                relative_error(upsample_walked(ours, cell=cell).transpose(0, 3, 1, 2), raised),
                1e-3,
            ),
        ]
