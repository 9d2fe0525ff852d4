"""SEAM with the HFPL losses (SEAM++) on PASCAL VOC, through AffinityNet's random walk
to a segmentation network.

    python -m hfpl_jax --config=configs/seam.py --workdir=runs/seam \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m hfpl_jax --config=configs/seam.py:published --workdir=runs/published \
        --config.data.root=VOCdevkit \
        --config.model.weights=ilsvrc-cls_rna-a1_cls1000_ep-0001.params

The first is the `modern` preset, on a ResNet-50. `published` is the program as it was
released, on the wide ResNet-38 with its MXNet weights; it reached 55.4 mIoU with CAMs
on train and 64.5 to 64.8 with the final network on val, SEAM without the two losses.
Switches: `published`, and those of every recipe: `configs/seam.py:isl=0,fsl=0` is SEAM
alone, `configs/seam.py:debug` a quick look.
"""

from hfpl_jax.defaults import DEBUG, apply_switches, default_config

PUBLISHED = {
    "model.backbone": "resnet38",
    "hfpl.sigma": 5.0,
    "hfpl.peak_floor": 0.0,
    "method.seam.peak_floor": 0.0,
    "method.seam.corrected_floor": 0.0,
    # The weight decay was handed over in the momentum's place; the learning rates are
    # tuned to it.
    "train.momentum": 0.0005,
    "train.clip": 0.0,
    "train.skip_above": 0.0,
    "train.learning_rate": 0.01,
    "train.epochs": 8,
    "train.batch_size": 8,
    "train.freeze": ("^backbone/conv1a/", r"^backbone/b2(_\d)?/", r"/bn\w*/"),
    "labels.threshold": "0.25",
    "refine.crf.sxy": 80.0,
    "refine.crf.srgb": 13.0,
    "refine.crf.weight": 10.0,
    "refine.random_walk.crf.sxy": 80.0,
    "refine.random_walk.crf.srgb": 13.0,
    "refine.random_walk.crf.weight": 10.0,
    "refine.random_walk.alpha": 6.0,
    "refine.random_walk.steps": 64,
    "refine.random_walk.affinity.momentum": 0.0005,
    "refine.random_walk.affinity.clip": 0.0,
    "refine.random_walk.affinity.skip_above": 0.0,
    "refine.random_walk.affinity.batch_size": 8,
    "refine.random_walk.affinity.freeze": ("^backbone/conv1a/", r"^backbone/b2(_\d)?/", r"/bn\w*/"),
    "segmentation.head": "deeplab_v1",
    "segmentation.clip": 0.0,
    "segmentation.skip_above": 0.0,
    "segmentation.batch_size": 10,
    "segmentation.epochs": 19,  # 20,000 steps of VOC's 10,582 photographs
    "segmentation.frozen_batch_norm": False,
    "segmentation.crf.sxy": 32.0,
    "segmentation.crf.srgb": 13.0,
    "segmentation.crf.weight": 10.0,
    "segmentation.freeze": (r"/bn\w*/", r"^head/fov2?/(scale|bias)$"),
}


def get_config(switches=None):
    config = default_config()
    config.data.name = "voc_seg"
    config.data.train_split = "trainaug"
    config.data.score_split = "train"

    config.method.name = "seam"
    config.model.dropout = 0.5
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 8
    config.train.learning_rate = 0.005
    config.train.momentum = 0.9

    config.refine.name = "random_walk"
    # A quarter of the published ones reaches as many pixels where a cell is 16 wide and
    # not 8
    config.refine.random_walk.steps = 16
    config.refine.random_walk.affinity.momentum = 0.9
    config.refine.random_walk.affinity.learning_rate = 0.001

    config.export.format = "array_record"
    config.segmentation.epochs = 30
    config.segmentation.frozen_batch_norm = True

    debug = {
        "refine.random_walk.affinity.epochs": 1,
        "refine.random_walk.affinity.batch_size": 8,
        "refine.random_walk.affinity.crop_size": 128,
        "segmentation.epochs": 1,
        "segmentation.batch_size": 8,
        "segmentation.crop_size": 128,
        "segmentation.scales": (1.0,),
        "segmentation.long_side": 160,
    }
    return apply_switches(config, switches, DEBUG | debug, presets={"published": PUBLISHED})
