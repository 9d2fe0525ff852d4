"""COCO: pseudo-labels for the training photographs from image labels, with a ResNet-50.

    python -m hfpl_jax --config=configs/coco.py --workdir=runs/coco --config.data.root=COCO --config.model.weights=resnet50.safetensors

The root holds annotations/ and train2017/, val2017/. `--config.data.options.year=2014` takes the 2014 splits, as published;
`--config.data.options.mask_rule=annotation_order` paints the masks as the published program does.
Switches: `configs/coco.py:isl=0,fsl=0` is the plain CAM baseline; `configs/coco.py:debug` goes through all stages in minutes.
"""

from hfpl_jax.defaults import apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.data.name = "coco_seg"
    config.data.options = {"year": "2017", "mask_rule": "largest_first"}
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 0.2  # as published for COCO
    return apply_switches(config, switches)
