"""Pseudo-labels for the tests of the export: JPEG and PNG photographs, odd sizes, odd
names.
"""

import io

import numpy as np
from PIL import Image

from hfpl_jax.export import PseudoLabel
from hfpl_jax.instance import Instance, encode_rle

CLASS_NAMES = ("cat", "potted plant", "dog")
_NAMES = ("a.jpg", "sub/b.png", "später.jpg", "c.d.png", "2007_000032.jpg")


def make(count=5, *, image=True, confidence=True, instances=False, seed=0):
    """Noise with every mask value that three classes allow; the last one is a single
    pixel without a label. Every second has instances, if any has.
    """
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        height, width = (1, 1) if i == count - 1 else (7 + i, 12 - i)
        labels = (
            ()
            if i == count - 1
            else tuple(sorted(rng.choice(3, size=1 + i % 3, replace=False).tolist()))
        )
        mask = rng.choice(
            np.array([0, 255, *(label + 1 for label in labels)], np.uint8), size=(height, width)
        )
        name = _NAMES[i] if i < len(_NAMES) else f"{i}.png"
        photograph = io.BytesIO()
        kind = "JPEG" if name.endswith("jpg") else "PNG"
        Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8)).save(
            photograph, kind
        )
        made.append(
            PseudoLabel(
                file_name=name,
                image=photograph.getvalue() if image else None,
                labels=labels,
                mask=mask,
                confidence=rng.integers(256, size=(height, width), dtype=np.uint8)
                if confidence
                else None,
                instances=_instances(i, height, width) if instances else None,
            )
        )
    return made


def _instances(index, height, width):
    """Noise as well; they overlap. Their scores have no rest in float32."""
    rng = np.random.default_rng(100 + index)
    return tuple(
        Instance(
            label=int(rng.integers(3)),
            segmentation=encode_rle(rng.random((height, width)) > 0.5),
            score=float(rng.integers(256)) / 256,
            peak=(int(rng.integers(height)), int(rng.integers(width))),
        )
        for _ in range(index % 2 * 3)
    )


def encoded_instances(pseudo_label):
    """As a record of the export lists them."""
    return [
        {
            "label": one.label,
            "counts": one.segmentation["counts"].encode(),
            "score": one.score,
            "peak": list(one.peak),
        }
        for one in pseudo_label.instances
    ]
