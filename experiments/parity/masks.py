"""From raw CAMs to figures, held against the published program: merging of scales,
confusion matrix, contour F.
"""

import pathlib

import numpy as np

from experiments.parity.check import Check, relative_error
from hfpl_jax.methods.merge import merge_cams
from hfpl_jax.metrics.confusion import confusion_matrix, mean_iou
from hfpl_jax.metrics.contour import contour_counts, contour_f

SCALES = (0.5, 1.0, 1.5, 2.0)


def check_cam_merge(goldens: pathlib.Path) -> list[Check]:
    """cam_merge.npz: raw CAMs of four scales, each plain and mirrored, to the
    normalised CAMs of the present classes.
    """
    with np.load(goldens / "cam_merge.npz") as golden:
        classes = np.flatnonzero(golden["labels"])
        height, width = golden["size"].tolist()
        # The published maps have their background in front.
        raw = [
            golden[f"raw_{index}"][0, classes + 1].astype(np.float32).transpose(1, 2, 0)
            for index in range(2 * len(SCALES))
        ]
        summed = [raw[index] + raw[index + 1][:, ::-1] for index in range(0, len(raw), 2)]
        cams = merge_cams(
            summed,
            [(round(height * scale), round(width * scale)) for scale in SCALES],
            (height, width),
        )
        return [
            Check(
                "CAM merge",
                "normalised CAMs",
                relative_error(cams.transpose(2, 0, 1), golden["norm_cam"]),
                1e-5,
            )
        ]


def check_metrics(goldens: pathlib.Path) -> list[Check]:
    """metrics.npz: pairs of label maps to contour counts, mean contour F, confusion
    matrix and mIoU.
    """
    with np.load(goldens / "metrics.npz") as golden:
        theirs = dict(golden)
    cases = sorted({int(name.split("_")[0]) for name in theirs if name.endswith("_pred")})
    num_classes = len(theirs["confusion"])
    pairs = [(theirs[f"{case}_pred"], theirs[f"{case}_gt"]) for case in cases]
    counts = [contour_counts(*pair, num_classes=num_classes) for pair in pairs]
    confusion = sum(confusion_matrix(*pair, num_classes=num_classes) for pair in pairs)
    rows = [
        # There the truth's matches and lengths come first.
        Check(
            "contour F",
            f"counts, case {case}",
            relative_error(ours[:, [1, 0, 3, 2]], theirs[f"{case}_counts"]),
            0.0,
        )
        for case, ours in zip(cases, counts, strict=True)
    ]
    return [
        *rows,
        Check("contour F", "mean", relative_error(contour_f(sum(counts)), theirs["mean_f"]), 1e-9),
        Check("mIoU", "confusion matrix", relative_error(confusion, theirs["confusion"]), 0.0),
        Check("mIoU", "mean", relative_error(mean_iou(confusion), theirs["miou"]), 1e-9),
    ]
