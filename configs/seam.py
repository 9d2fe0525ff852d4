"""SEAM with the HFPL losses (SEAM++), through AffinityNet's random walk to a
segmentation network.

    python -m hfpl_jax --config=configs/seam.py:data=voc --workdir=runs/seam \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m hfpl_jax --config=configs/seam.py:data=voc,published \
        --workdir=runs/published --config.data.root=VOCdevkit \
        --config.model.weights=ilsvrc-cls_rna-a1_cls1000_ep-0001.params
    python -m experiments.ablation --config=configs/seam.py:data=voc,small \
        --workdir=runs/ablation --cells=GAP,+both --until=labels --seeds=3 \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

The first is the `modern` preset, on a ResNet-50.

- `published` is the program as it was released, on the wide ResNet-38 with its MXNet
  weights; it reached 55.4 mIoU with CAMs on train and 64.5 to 64.8 with the final
  network on val, SEAM without the two losses.
- `small`: one core, half an hour a run to the pseudo-labels of 437 photographs of VOC,
  34.7 mIoU of CAMs on train and 32.4 on val, SEAM alone 33.6 and 30.7
  (experiments/notes/seam_small.md). `--until=predictions` goes on to the final network.
- `data=voc`, the default, `data=coco`, `data=folder` and `data=scenes` as in
  configs/cam.py. A folder has a final network only if it has photographs to score it on:
  `--config.data.val_split=val --config.segmentation.epochs=30`.
- `isl=0,fsl=0` is SEAM alone, `debug` a quick look.
"""

from hfpl_jax.defaults import (
    DEBUG,
    DEBUG_FINAL,
    SMALL,
    SMALL_FINAL,
    apply_switches,
    default_config,
)

PUBLISHED = {
    "model.backbone": "resnet38",
    "hfpl.sigma": 5.0,
    "hfpl.peak_floor": 0.0,
    "method.seam.peak_floor": 0.0,
    "method.seam.corrected_floor": 0.0,
    # The weight decay was handed over in the momentum's place; the learning rates are
    # tuned to it.
    "train.sgd.momentum": 0.0005,
    "train.clip": 0.0,
    "train.skip_above": 0.0,
    "train.learning_rate": 0.01,
    "train.epochs": 8,
    "train.batch_size": 8,
    "labels.threshold": "0.25",
    "refine.crf.sxy": 80.0,
    "refine.crf.srgb": 13.0,
    "refine.crf.weight": 10.0,
    "refine.random_walk.crf.sxy": 80.0,
    "refine.random_walk.crf.srgb": 13.0,
    "refine.random_walk.crf.weight": 10.0,
    "refine.random_walk.alpha": 6.0,
    "refine.random_walk.steps": 64,
    "refine.random_walk.affinity.sgd.momentum": 0.0005,
    "refine.random_walk.affinity.clip": 0.0,
    "refine.random_walk.affinity.skip_above": 0.0,
    "refine.random_walk.affinity.batch_size": 8,
    "segmentation.head": "deeplab_v1",
    "segmentation.clip": 0.0,
    "segmentation.skip_above": 0.0,
    "segmentation.batch_size": 10,
    "segmentation.epochs": 19,  # 20,000 steps of VOC's 10,582 photographs
    "segmentation.frozen_batch_norm": False,
    "segmentation.crf.sxy": 32.0,
    "segmentation.crf.srgb": 13.0,
    "segmentation.crf.weight": 10.0,
}

PUBLISHED_COCO = {
    "data.options": {"year": "2014", "mask_rule": "annotation_order"},
    "segmentation.epochs": 24,  # 200,000 steps of 82,783 photographs
}

OF_SMALL = (
    SMALL
    | SMALL_FINAL
    | {
        "method.seam.view_scale": 0.6,  # 96 of 160 pixels
        "model.dropout": 0.0,  # in so short a training it costs more than it gives
        "train.epochs": 3,
        "train.crop_size": 160,
        "train.resize_long": (208, 352),
        # With the speed of plain CAM's head the contours are worse
        "train.multipliers": ((r"^(?!backbone/)", 6.0),),
        "inference.long_side": 352,
        "refine.random_walk.affinity.epochs": 3,
        "refine.random_walk.affinity.batch_size": 4,
        "refine.random_walk.affinity.learning_rate": 0.005,
        "refine.random_walk.affinity.crop_size": 160,
        "refine.random_walk.affinity.freeze_stages": 3,
        # As published; what the threshold brings instead: experiments/notes/seam_small.md
        "refine.random_walk.alpha": 6.0,
        "refine.random_walk.beta": 16,  # affinities learnt in so few steps are less sharp
    }
)

OF_DEBUG = (
    DEBUG
    | DEBUG_FINAL
    | {
        "refine.random_walk.affinity.epochs": 1,
        "refine.random_walk.affinity.batch_size": 8,
        "refine.random_walk.affinity.crop_size": 128,
    }
)


def get_config(switches=None):
    config = default_config()
    config.method.name = "seam"
    config.model.dropout = 0.5
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 8
    config.train.learning_rate = 0.005
    config.train.sgd.momentum = 0.9

    config.refine.name = "random_walk"
    # A quarter of the published ones reaches as many pixels where a cell is 16 wide and
    # not 8
    config.refine.random_walk.steps = 16
    config.refine.random_walk.affinity.sgd.momentum = 0.9
    config.refine.random_walk.affinity.learning_rate = 0.001

    config.export.formats = ("array_record",)
    config.segmentation.epochs = 30
    config.segmentation.frozen_batch_norm = True

    presets = {
        "published": PUBLISHED,
        "published,data=coco": PUBLISHED_COCO,
        "small": OF_SMALL,
        "debug": OF_DEBUG,
        "data=folder": {"segmentation.epochs": 0},  # which is scored on val
        "data=scenes": {"method.seam.view_scale": 0.6, "model.dropout": 0.0},  # as in `small`
    }
    return apply_switches(config, switches, presets, data="voc")
