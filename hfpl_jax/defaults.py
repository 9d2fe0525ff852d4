"""The fields of a configuration and their defaults; a recipe in configs/ starts from
here and says what differs.

Everything but `run` and `profile` decides the result, so a changed field re-runs the
stages that read it and those after them. `run` says how the work is done: changing it
re-runs nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError


def _training(*, learning_rate: float, multipliers: tuple[tuple[str, float], ...]) -> ConfigDict:
    """The fields that every training has."""
    training = ConfigDict()
    training.init_from = (
        ""  # the folder of this stage in a finished run, to start from its parameters
    )
    training.batch_size = 16  # over all devices
    training.crop_size = 448
    training.learning_rate = learning_rate
    training.power = 0.9  # of the polynomial schedule
    training.momentum = 0.0
    training.weight_decay = 5e-4
    training.clip = 0.0  # largest norm of a gradient; a longer one is shortened to it; 0 for none
    training.no_decay = ()  # patterns of paths that are not decayed
    training.multipliers = (
        multipliers  # of the learning rate: (pattern in the parameter's path, factor)
    )
    training.freeze = (
        "^backbone/stem/",
        "^backbone/layer1/",
        "/scale$",
        "^backbone/.*/bias$",
    )  # patterns of paths
    return training


def default_config() -> ConfigDict:
    """CAM with both losses on a ResNet-50 at output stride 16."""
    config = ConfigDict()
    config.seed = 0
    config.profile = (
        ""  # a stage, of which ten steps are traced into its folder, for TensorBoard or Perfetto
    )

    config.data = ConfigDict()
    config.data.name = "scenes"  # scenes, voc_seg, coco_seg or folder
    config.data.root = ""  # where the photographs lie
    config.data.directory = ""  # where the prepared dataset is kept; "" for WORKDIR/data
    config.data.options = ConfigDict()  # of the dataset's builder
    config.data.on_bad_record = "raise"  # or "skip": leave it out and list it in skipped.jsonl
    config.data.train_split = "train"  # trained on
    config.data.label_split = ""  # given CAMs and pseudo-labels; "" for train_split
    config.data.score_split = (
        ""  # the part of it that is scored as "train" and chooses the threshold; "" for all of it
    )
    config.data.val_split = "val"  # scored as "val"; "" for none
    config.data.allow_overlap = False  # True: a photograph may be trained on and in val as well
    config.data.mask_mismatches = 0.01  # share of masks that may hold a class beyond the labels

    config.model = ConfigDict()
    # Of the ResNet: 18, 34, 50 or 101; 38 for the wide ResNet-38 of the published program (output
    # stride 8)
    config.model.depth = 50
    config.model.output_stride = 16  # 32, 16 or 8
    config.model.version = "v1.5"  # place of the stride: "v1.5" for torchvision's weights, or "v1"
    config.model.width = 64  # channels of the stem; less for a small network from random weights
    config.model.weights = (
        ""  # safetensors or npz under torchvision's or timm's names; "" for random
    )
    config.model.frozen_batch_norm = True  # False to train from random weights
    config.model.dropout = 0.0  # of the channels the CAM head sees; 0.5 in SEAM
    config.model.dtype = "float32"  # of the computation; "bfloat16" on accelerators

    config.method = ConfigDict()
    config.method.name = "cam"  # or "seam"
    config.method.view_scale = 0.3  # of SEAM: the side of its second view over that of the crop

    config.hfpl = ConfigDict()
    config.hfpl.isl_weight = 0.2  # lambda; 0 for none
    config.hfpl.fsl_weight = 1.0  # 0 for none
    config.hfpl.num_samples = 10
    config.hfpl.mu = 2.5
    config.hfpl.sigma = 2.5  # CAM pixels: 5 at output stride 8, 2.5 at 16; 0 for no spatial weight
    config.hfpl.window = 0  # CAM pixels; 0 for all pairs

    config.train = _training(learning_rate=0.05, multipliers=((r"^(?!backbone/)", 10.0),))
    config.train.epochs = 4
    config.train.resize_long = (448, 768)  # range of the long side in pixels
    config.train.jitter = True

    config.inference = ConfigDict()
    config.inference.checkpoint = "last"  # or "best", by training loss
    config.inference.image_labels = "given"  # or "predicted"
    config.inference.scales = (0.5, 1.0, 1.5, 2.0)
    config.inference.long_side = (
        0  # pixels of the long side at scale 1; 0 for the photograph's own size
    )
    config.inference.flip = True

    config.labels = ConfigDict()
    config.labels.threshold = (
        "train"  # background score: "train" (best mIoU on train) or a number such as "0.25"
    )
    config.labels.default_threshold = 0.25  # for "train" where no training image has a mask
    config.labels.ignore_band = ()  # (low, high): pixels whose best score lies between become 255

    config.refine = ConfigDict()  # what happens to CAMs before they become pseudo-labels
    config.refine.method = (
        ""  # "" for the threshold alone, "crf", or "random_walk" for AffinityNet's walk
    )
    config.refine.crf_algorithm = "lattice"  # on the CPU; "exact" on an accelerator
    config.refine.crf_iterations = 10
    config.refine.crf_sxy = 67.0  # pixels that the kernel which follows colours reaches
    # Grey levels it tells apart; 13 takes objects for their background where both are alike
    config.refine.crf_srgb = 3.0
    config.refine.crf_weight = 4.0  # of that kernel against the CAMs
    config.refine.walk_alpha = (
        0.0  # background score (1 - strongest CAM)^alpha of the walk; 0: the threshold instead
    )
    config.refine.walk_beta = 8  # exponent of the affinities
    config.refine.walk_steps = 64

    config.affinity = _training(
        learning_rate=0.01, multipliers=((r"^(?!backbone/)", 10.0),)
    )  # of the walk's network
    config.affinity.epochs = 8
    config.affinity.alphas = (
        1.0,
        24.0,
    )  # background scores (1 - strongest CAM)^alpha that give sure foreground and sure background

    config.segmentation = _training(
        learning_rate=0.001,
        multipliers=((r"^head/.*/bias$", 20.0), (r"^head/", 10.0), (r"/bias$", 2.0)),
    )
    config.segmentation.epochs = 0  # of the final network on the exported pseudo-labels; 0 for none
    config.segmentation.head = "deeplab_v2"  # or "deeplab_v1", with a large field of view
    config.segmentation.momentum = 0.9
    config.segmentation.no_decay = ("/bias$",)
    config.segmentation.freeze = ("/scale$", "^backbone/.*/bias$")
    config.segmentation.frozen_batch_norm = False
    config.segmentation.batch_norm_momentum = (
        0.0003  # share of a batch in the running statistics, where they are not frozen
    )
    config.segmentation.scale_range = (0.5, 1.5)
    config.segmentation.scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # at inference, mirrored too
    config.segmentation.long_side = (
        0  # pixels of the long side at scale 1; 0 for the photograph's own size
    )
    config.segmentation.crf_iterations = 1  # 0 for none

    config.export = ConfigDict()
    config.export.format = "tfrecord"  # tfrecord, array_record, png or coco
    config.export.image = True  # photographs beside the masks
    config.export.confidence = True

    config.report = ConfigDict()
    config.report.photographs = 8

    config.run = ConfigDict()
    config.run.num_workers = 0  # processes that decode and augment; 0 for threads
    config.run.shard_parameters = (
        False  # divide large parameters among the devices, where one cannot hold them all
    )
    config.run.log_every = 10  # steps
    config.run.checkpoint_every = 100  # steps
    config.run.keep_checkpoints = 2  # the latest ones, beside the best
    config.run.cam_batch_size = 8  # photographs
    config.run.padded_shapes = 4  # compilations of the network a scale
    config.run.shard_size = 64  # records
    config.run.compilation_cache = ""  # "" for WORKDIR/compilation_cache
    return config


DEBUG = MappingProxyType(
    {
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.crop_size": 128,
        "train.resize_long": (128, 160),
        "inference.scales": (1.0,),
        "inference.long_side": 160,
    }
)
"""What the switch `debug` changes for photographs: all stages in little time, for a
look at whether they run.
"""


def apply_switches(
    config: ConfigDict, switches: str | None, debug: Mapping[str, Any] = DEBUG
) -> ConfigDict:
    """Applies what follows the colon in `--config=FILE:isl=0,fsl=0,seed=1,debug`.

    Args:
      config: the recipe.
      switches: the weights of the losses, the seed, and `debug`.
      debug: what `debug` changes, by dotted name.

    Raises:
      InputError: an unknown switch, or a value that is no number.
    """
    fields = {
        "isl": (config.hfpl, "isl_weight"),
        "fsl": (config.hfpl, "fsl_weight"),
        "seed": (config, "seed"),
    }
    for switch in filter(None, (switches or "").split(",")):
        name, _, value = switch.partition("=")
        if switch == "debug":
            config.update_from_flattened_dict(dict(debug))
        elif name in fields:
            section, field = fields[name]
            try:
                section[field] = type(section[field])(value)
            except ValueError as error:
                raise InputError(
                    f"The switch {switch!r} needs a number, such as {name}={section[field]}."
                ) from error
        else:
            raise InputError(
                f"Unknown switch {switch!r} after the config file. Known are isl=WEIGHT, "
                "fsl=WEIGHT, seed=NUMBER and debug."
            )
    return config
