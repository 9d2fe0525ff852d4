"""Your own photographs: a folder of images and a file with their labels; masks only if
you want scores.

    python -m hfpl_jax --config=configs/folder.py --workdir=runs/mine \
        --config.data.root=PHOTOS --config.model.weights=resnet50.safetensors

PHOTOS/labels.csv has a header and a line a photograph, labels separated by blanks:

    file_name,labels
    a.jpg,cat sofa
    holiday/b.jpg,dog

`--config.data.options.masks=masks` names a folder of PNG masks. Without masks the
background threshold is config.labels.default_threshold; look at the report and set
`--config.labels.threshold=0.3` if objects come out too large. Switches:
`configs/folder.py:isl=0,fsl=0` is the plain CAM baseline; `configs/folder.py:debug`
goes through all stages in minutes.
"""

from hfpl_jax.defaults import apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.data.name = "folder"
    config.data.options = {"labels": "labels.csv", "masks": ""}
    config.data.val_split = ""
    return apply_switches(config, switches)
