"""CAM: pseudo-labels from image labels, with both losses and a ResNet-50.

    python -m hfpl_jax --config=configs/cam.py:data=voc --workdir=runs/voc \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m hfpl_jax --config=configs/cam.py:data=coco --workdir=runs/coco \
        --config.data.root=COCO --config.model.weights=resnet50.safetensors
    python -m hfpl_jax --config=configs/cam.py:data=folder --workdir=runs/mine \
        --config.data.root=PHOTOS --config.model.weights=resnet50.safetensors
    python -m experiments.ablation --config=configs/cam.py:data=voc,small \
        --workdir=runs/ablation --seeds=3 \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

- `data=voc`, the default: the root holds VOC2012; trainaug's masks (SegmentationClassAug)
  are used for scoring where they are there.
- `data=coco`: the root holds annotations/ and train2017/, val2017/.
  `--config.data.options.year=2014` takes the 2014 splits, as published;
  `--config.data.options.mask_rule=annotation_order` paints the masks as the published
  program does.
- `data=folder`: photographs of your own and a labels.csv, as the README describes it;
  `--config.data.options.masks=masks` names a folder of masks, if you want scores.
- `data=scenes`: generated, with a small network from random weights: what
  configs/quickstart.py runs.
- `small`: two cores, 12 minutes a run on 761 photographs of VOC, 34.5 mIoU on train and
  38.8 on val, without the losses 33.1 and 36.9 (experiments/notes/voc_small.md).
- `isl=0,fsl=0` is the plain CAM baseline, `debug` goes through all stages in minutes.

Nothing has been run at full size. What the 118,287 + 5,000 photographs of COCO 2017
take, from what 195 + 100 of them took and from the compiler's count of operations:

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

from hfpl_jax.defaults import DEBUG, SMALL, apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.method.name = "cam"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0
    return apply_switches(config, switches, {"small": SMALL, "debug": DEBUG}, data="voc")
