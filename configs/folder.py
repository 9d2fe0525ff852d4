"""Your own photographs: a folder of images and a file with their labels; masks only if
you want scores.

    python -m hfpl_jax --config=configs/folder.py --workdir=runs/mine \
        --config.data.root=PHOTOS --config.model.weights=resnet50.safetensors

PHOTOS/labels.csv has a header and a line a photograph. A semicolon alone separates
labels, so a name may have blanks; `background` alone says that none of the classes is
visible, and `hfpl_jax/data/label_file.py` describes the rest:

    file_name,labels
    a.jpg,cat;traffic light
    holiday/b.jpg,dog
    c.jpg,background

`--config.data.options.masks=masks` names a folder of PNG masks (0 background, 1, 2, ...
the classes in their order, 255 ignore; `holiday/b.png` for `holiday/b.jpg`). Without
masks the background threshold is config.labels.default_threshold; look at the report
and set `--config.labels.threshold=0.3` if objects come out too large. Switches:
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
