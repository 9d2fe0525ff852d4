"""PASCAL VOC 2012: pseudo-labels for trainaug from image labels, with a ResNet-50.

    python -m hfpl_jax --config=configs/voc.py --workdir=runs/voc \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

The root is the folder that holds VOC2012; trainaug's masks (SegmentationClassAug) are
used for scoring where they are there. Switches: `configs/voc.py:isl=0,fsl=0` is the
plain CAM baseline; `configs/voc.py:debug` goes through all stages in minutes.
"""

from hfpl_jax.defaults import apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.data.name = "voc_seg"
    config.data.train_split = "trainaug"
    config.data.score_split = "train"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0
    return apply_switches(config, switches)
