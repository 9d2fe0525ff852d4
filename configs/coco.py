"""COCO: pseudo-labels for the training photographs from image labels, with a ResNet-50.

    python -m hfpl_jax --config=configs/coco.py --workdir=runs/coco \
        --config.data.root=COCO --config.model.weights=resnet50.safetensors

The root holds annotations/ and train2017/, val2017/. `--config.data.options.year=2014`
takes the 2014 splits, as published; `--config.data.options.mask_rule=annotation_order`
paints the masks as the published program does. Files of the same layout with categories
of your own are taken as they are: the classes are those of the file of train, in the
order of their ids, and the log lists them. Switches: `configs/coco.py:isl=0,fsl=0`
is the plain CAM baseline; `configs/coco.py:debug` goes through all stages in minutes.

What the 118,287 + 5,000 photographs of 2017 take, from what 195 + 100 of them took and
from the compiler's count of operations:

- training, four epochs: 29,571 steps of 2.06 TFLOP, 61 PFLOP in all (`--dry_run` says
  it for other settings);
- CAMs at four scales, mirrored too: 1.13 TFLOP for 640x480 pixels, 140 PFLOP in all;
- both together at 30 % of the peak in bfloat16, which is assumed and not measured: 0.6
  hours on one A100 (312 TFLOP/s), 0.2 hours on one H100 (989) or on the four chips of a
  TPU v4-8 (1,100). The host decodes 600,000 photographs meanwhile: give it cores and
  `--config.run.num_workers`;
- disk: 20 GB for the prepared photographs, 7 GB for CAMs (55 kB a photograph), 4 GB for
  pseudo-labels, 24 GB for the export;
- memory: the same as for a thousand photographs (experiments/notes/memory.md).
"""

from hfpl_jax.defaults import apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.data.name = "coco_seg"
    config.data.options = {"year": "2017", "mask_rule": "largest_first"}
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 0.2  # as published for COCO
    return apply_switches(config, switches)
