"""Average precision of instances by the overlap of their masks (mAP^r), as COCO's own
program computes it.

The found instances of a class, the highest score first over all photographs, each take
the true instance of the photograph that they overlap most and that is not taken yet, if
the IoU reaches a bound. Those that take none are wrong, but what lies on a crowd is not
counted. AP is the mean, over the recalls 0.00, 0.01, ..., 1.00, of the best precision
at that recall or a higher one.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hfpl_jax.instance import Instance
from hfpl_jax.shapes import Float, typed

IOUS = (0.25, 0.5, 0.75)
"""The bounds on the overlap."""


@typed
def instance_precision(
    photographs: Mapping[str, tuple[Sequence[Instance], Sequence[Instance]]], *, num_classes: int
) -> Float[np.ndarray, "t c"]:
    """AP of each class at each of `IOUS`.

    Args:
      photographs: by name, its true instances and the found ones, which have scores.
        All that are found count, however many.
      num_classes: the foreground classes.

    Returns:
      In [0, 1]; 0 where nothing is found, nan for a class without a true instance that
      is no crowd.
    """
    names = sorted(photographs)  # found instances of one score keep an order of their own
    both = [[photographs[name][side] for name in names] for side in (0, 1)]
    most = max((len(found) for found in both[1]), default=0)
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        true, found = (_as_coco(listed, num_classes) for listed in both)
        evaluation = COCOeval(true, found, "segm")
        settings = evaluation.params
        settings.iouThrs, settings.maxDets = np.asarray(IOUS), [max(most, 1)]
        settings.areaRng, settings.areaRngLbl = [[0, np.inf]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # -1 without truth
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1))


@typed
def class_mean(values: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "t"]:
    """The mean of each row over the classes that have a value; nan if none has."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _as_coco(photographs: Sequence[Sequence[Instance]], num_classes: int) -> COCO:
    annotations = [
        {
            "image_id": image_id,
            "category_id": one.label,
            "segmentation": one.segmentation,
            "area": int(coco_mask.area(one.segmentation)),
            "iscrowd": int(one.crowd),
            "score": one.score,
        }
        for image_id, instances in enumerate(photographs)
        for one in instances
    ]
    coco = COCO()
    coco.dataset = {
        "images": [_image(image_id, listed) for image_id, listed in enumerate(photographs)],
        "categories": [{"id": label} for label in range(num_classes)],
        # Numbered from 1: a match with number 0 reads as none.
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _image(image_id: int, instances: Sequence[Instance]) -> dict:
    """With the size, which pycocotools asks for where there are instances."""
    height, width = instances[0].segmentation["size"] if instances else (0, 0)
    return {"id": image_id, "height": height, "width": width}
