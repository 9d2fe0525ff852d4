"""The pieces of the benchmark: what is done, at which sizes, and what it is held
against.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """A piece of work, done by the library and by a reference.

    work: what is done, a format string over the sizes.
    sizes: arguments of both sides' functions; `small` are those of --small.
    ours: "module:function" that makes our `Side`.
    references: package -> "module:function"; the first whose package is installed is
      taken.
    tolerance: of `relative_error` between the sides' numbers; infinite where the two
      do not compute the same, and must only be numbers.
    """

    work: str
    sizes: Mapping[str, Any]
    small: Mapping[str, Any]
    ours: str
    references: Mapping[str, str]
    tolerance: float


def _seam_step(backbone: str, crop: int, batch: int) -> Piece:
    return Piece(
        "a training step of SEAM with both HFPL losses, {backbone}, {batch} crops of {crop} "
        "pixels, float32",
        {"backbone": backbone, "crop": crop, "batch": batch},
        {"backbone": backbone, "crop": 64, "batch": 1},
        "experiments.benchmark.seam:ours",
        {
            "torch": "experiments.benchmark.pytorch.seam:step",
            "jax": "experiments.benchmark.seam:pairwise",
        },
        1e-2,  # of updates that went through fifty layers and back
    )


def _method_step(
    method: str,
    what: str,
    crop: int,
    *,
    against: str = "cam",
    tolerance: float = 1e-4,  # of the classification term
    frozen_batch_norm: bool = True,
    freeze_stages: int = 0,
    suppression: str = "",
    group: int = 1,
) -> Piece:
    sizes = {
        "method": method,
        "against": against,
        "backbone": "resnet50",
        "crop": crop,
        "batch": max(2, group),
        "frozen_batch_norm": frozen_batch_norm,
        "freeze_stages": freeze_stages,
        "suppression": suppression,
    }
    return Piece(
        f"a training step of {what}, {{backbone}}, {{batch}} crops of {{crop}} pixels, float32",
        sizes,
        sizes | {"backbone": "resnet18", "crop": 64, "batch": group},
        "experiments.benchmark.step:of_method",
        {"jax": "experiments.benchmark.step:of_other"},
        tolerance,
    )


def _method_photograph(method: str, what: str) -> Piece:
    sizes = {"method": method, "backbone": "resnet50", "height": 375, "width": 500}
    return Piece(
        f"CAMs of a photograph of {{height}}x{{width}} pixels by {what} against CAM's, "
        "{backbone}, mirrored, float32",
        sizes,
        sizes | {"backbone": "resnet18", "height": 64, "width": 48},
        "experiments.benchmark.photograph:of_method",
        {"jax": "experiments.benchmark.photograph:of_cam"},
        math.inf,
    )


# VOC's commonest sizes; of each group as many as fill a batch, as nearly all batches of
# a whole split are.
_VOC_SIZES = (
    *((375, 500),) * 3,
    (371, 500),
    *((333, 500),) * 2,
    (332, 500),
    (334, 500),
    *((500, 375),) * 3,
    (500, 371),
)


def _feature_similarity(pairs: str, window: int, tolerance: float) -> Piece:
    return Piece(
        "feature similarity loss and its gradient, {batch} maps of {height}x{width}, "
        "{channels} channels, " + pairs,
        {"batch": 2, "height": 56, "width": 56, "channels": 21, "window": window},
        {"batch": 1, "height": 12, "width": 15, "channels": 3, "window": window},
        "experiments.benchmark.losses:feature_similarity",
        {
            "torch": "experiments.benchmark.pytorch.losses:feature_similarity",
            "jax": "experiments.benchmark.losses:pairwise_similarity",
        },
        tolerance,
    )


def _crf_split(kernel: tuple[float, float, float], name: str) -> Piece:
    sizes = (
        *((375, 500, 1), (333, 500, 1), (500, 375, 2), (375, 500, 1)),
        *((334, 500, 2), (500, 333, 1), (281, 500, 3), (442, 500, 1)),
    )
    return Piece(
        "masks of a split by a dense CRF, 10 iterations, " + name + ", from JPEG and CAM record "
        "on all cores: {photographs} pixels and classes",
        {"photographs": sizes, "kernel": kernel},
        {"photographs": ((40, 52, 2), (52, 40, 1), (40, 52, 1)), "kernel": kernel},
        "experiments.benchmark.crf:of_split",
        {"pydensecrf": "experiments.benchmark.crf:pydensecrf_split"},
        2e-2,
    )


PIECES: Mapping[str, Piece] = MappingProxyType(
    {
        # The window drops 2e-4 of the weights.
        "feature_similarity": _feature_similarity("window of 4 sigma", 20, 1e-3),
        "feature_similarity_all": _feature_similarity("all pairs, as in the recipes", 0, 1e-4),
        "importance_sampling": Piece(
            "importance sampling loss and its gradient, drawing included, {batch} maps of "
            "{height}x{width}, {classes} classes",
            {"batch": 8, "height": 56, "width": 56, "classes": 20},
            {"batch": 2, "height": 7, "width": 9, "classes": 3},
            "experiments.benchmark.losses:importance_sampling",
            {
                "torch": "experiments.benchmark.pytorch.losses:importance_sampling",
                "jax": "experiments.benchmark.losses:categorical_sampling",
            },
            1e-5,
        ),
        "seam_step": _seam_step(backbone="resnet50", crop=448, batch=2),
        "seam_step_resnet38": _seam_step(backbone="resnet38", crop=224, batch=1),
        "puzzle_step": _method_step(
            "puzzle",
            "PuzzleCAM against one of CAM, batch statistics, nothing frozen",
            256,
            frozen_batch_norm=False,
        ),
        "suppression_step": _method_step(
            "cam",
            "CAM with the suppression of DRS, at a share of 1 that changes nothing, against one "
            "without, nothing frozen",
            448,
            suppression="1.0",
        ),
        "drs_step": _method_step(
            "drs",
            "DRS, learnable suppression, against one of CAM, nothing frozen",
            448,
            tolerance=math.inf,
            suppression="learnable",
        ),
        "drs_photograph": _method_photograph("drs", "DRS without suppression"),
        "group_step": _method_step(
            "group",
            "Group-WSSS against one of CAM, nothing frozen",
            448,
            tolerance=math.inf,
            group=3,
        ),
        "group_photograph": _method_photograph("group", "Group-WSSS"),
        "prm_step": _method_step(
            "prm",
            "PRM against one of CAM, nothing frozen",
            448,
            tolerance=math.inf,
        ),
        "prm_photograph": _method_photograph("prm", "PRM"),
        "peak_responses": Piece(
            "the response maps of {peaks} peaks of a photograph of {height}x{width} pixels, CAM "
            "on ResNet-50",
            {"peaks": 8, "height": 448, "width": 448},
            {"peaks": 2, "height": 64, "width": 48},
            "experiments.benchmark.peaks:ours",
            {
                "torch": "experiments.benchmark.pytorch.peaks:peak_by_peak",
                "jax": "experiments.benchmark.peaks:peak_by_peak",
            },
            1e-3,
        ),
        "sipe_step": _method_step(
            "sipe",
            "SIPE against one of CAM, the first three stages frozen",
            512,
            freeze_stages=3,
        ),
        "sipe_consistency": Piece(
            "SIPE's seeds, prototypes and consistency loss with its gradients, {batch} maps of "
            "{height}x{width}, {channels} channels, {classes} classes",
            {"batch": 4, "height": 32, "width": 32, "channels": 2048, "classes": 20},
            {"batch": 2, "height": 6, "width": 7, "channels": 16, "classes": 3},
            "experiments.benchmark.sipe:consistency",
            {
                "torch": "experiments.benchmark.pytorch.sipe:consistency",
                "jax": "experiments.benchmark.sipe:pairwise_consistency",
            },
            1e-3,
        ),
        "ppc_step": _method_step(
            "ppc",
            "PPC against one of SEAM, the first two stages frozen",
            448,
            against="seam",
            freeze_stages=2,
        ),
        "prototype_contrast": Piece(
            "PPC's terms of contrast and their gradients, drawing included, {batch} images, maps "
            "of {side1} and {side2} cells a side, {channels} channels, {classes} classes",
            {"batch": 8, "side1": 56, "side2": 16, "channels": 128, "classes": 20},
            {"batch": 2, "side1": 9, "side2": 5, "channels": 6, "classes": 14},
            "experiments.benchmark.ppc:contrast",
            {
                "torch": "experiments.benchmark.pytorch.ppc:contrast",
                "jax": "experiments.benchmark.ppc:contrast_by_class",
            },
            1e-4,
        ),
        "vit_forward": Piece(
            "the forward pass of a photograph of {size}x{size} pixels through {backbone}, float32",
            {"backbone": "deit_small16", "size": 448},
            {"backbone": "deit_tiny16", "size": 48},
            "experiments.benchmark.vit:forward",
            {
                "torch": "experiments.benchmark.pytorch.vit:forward",
                "jax": "experiments.benchmark.vit:forward_by_products",
            },
            1e-3,
        ),
        "mct_attention": Piece(
            "MCTformer's attention of class tokens and patches of a photograph of {size}x{size} "
            "pixels, {backbone}; the reference keeps every head of every block",
            {"backbone": "deit_small16", "size": 448},
            {"backbone": "deit_tiny16", "size": 48},
            "experiments.benchmark.vit:attention",
            {
                "torch": "experiments.benchmark.pytorch.vit:attention",
                "jax": "experiments.benchmark.vit:attention_of_all_heads",
            },
            1e-3,
        ),
        "cam_inference": Piece(
            "CAM records of photographs of {photographs} pixels, SEAM on ResNet-50, scales "
            "{scales}, mirrored, from JPEG to disk",
            {"photographs": _VOC_SIZES, "scales": (0.5, 1.0)},
            {"photographs": ((40, 56), (56, 40)), "scales": (0.5, 1.0)},
            "experiments.benchmark.inference:ours",
            {
                "torch": "experiments.benchmark.pytorch.seam:inference",
                "jax": "experiments.benchmark.inference:one_by_one",
            },
            4e-3,  # our records keep 8 bits: half a step is 2e-3
        ),
        "random_walk": Piece(
            "random walk of 64 steps over a photograph of 375x500: {height}x{width} cells, "
            "{channels} features, {scores} score maps",
            {"height": 47, "width": 63, "channels": 448, "scores": 3},
            {"height": 12, "width": 14, "channels": 16, "scores": 3},
            "experiments.benchmark.refine:random_walk",
            {
                "torch": "experiments.benchmark.pytorch.losses:dense_walk",
                "jax": "experiments.benchmark.refine:dense_walk",
            },
            1e-3,
        ),
        "crf": Piece(
            "dense CRF, 10 iterations, {height}x{width} pixels, {labels} labels; the numbers are "
            "the winning labels",
            {"height": 375, "width": 500, "labels": 3},
            {"height": 40, "width": 52, "labels": 3},
            "experiments.benchmark.crf:of_photograph",
            {"pydensecrf": "experiments.benchmark.crf:pydensecrf"},
            2e-2,  # share of a row's pixels
        ),
        "crf_split": _crf_split((67.0, 3.0, 4.0), "kernel of the recipes"),
        "crf_split_published": _crf_split((80.0, 13.0, 10.0), "published kernel"),
        "threshold_sweep": Piece(
            "confusion matrices at 100 thresholds from the files of {photographs} photographs of "
            "{height}x{width} pixels, 20 classes",
            {"photographs": 2, "height": 375, "width": 500},
            {"photographs": 2, "height": 24, "width": 31},
            "experiments.benchmark.metrics:sweep",
            {"numpy": "experiments.benchmark.metrics:sweep_by_threshold"},
            0.0,
        ),
        "contour": Piece(
            "contour matches of {photographs} label maps of {height}x{width} pixels, 20 classes",
            {"photographs": 4, "height": 375, "width": 500},
            {"photographs": 2, "height": 40, "width": 52},
            "experiments.benchmark.metrics:contour",
            {"scipy": "experiments.benchmark.metrics:contour_by_dilation"},
            0.0,
        ),
        "input_pipeline": Piece(
            "{batches} training batches of {batch} crops of {crop} pixels from JPEGs of 375x500: "
            "resized, mirrored, jittered, cropped",
            {"batches": 4, "batch": 8, "crop": 448},
            {"batches": 1, "batch": 2, "crop": 32},
            "experiments.benchmark.data:input_pipeline",
            {
                "torch": "experiments.benchmark.pytorch.data:input_pipeline",
                "numpy": "experiments.benchmark.data:one_after_another",
            },
            1e-5,
        ),
        "export": Piece(
            "masks with VOC's palette and confidence maps of {photographs} photographs of "
            "{height}x{width} pixels as PNG files",
            {"photographs": 24, "height": 375, "width": 500},
            {"photographs": 2, "height": 24, "width": 31},
            "experiments.benchmark.data:export_png",
            {"PIL": "experiments.benchmark.data:save_png"},
            0.0,
        ),
    }
)
