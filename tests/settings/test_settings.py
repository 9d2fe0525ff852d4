"""Every slip in a configuration is one sentence with the field and the cure."""

import dataclasses

import pytest

from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.section import fields
from hfpl_jax.setting import default_of
from hfpl_jax.settings import Settings


def changed(fields):
    config = default_config()
    config.model.weights = "random"
    with config.ignore_type():
        config.update_from_flattened_dict(fields)
    return config


WALK = {"refine.name": "random_walk"}
FINAL = {"segmentation.epochs": 1, "export.formats": ("array_record",)}
THRESHOLD = '"train" or a number in quotes, with a point, at least 0 and below 1'

SENTENCES = [
    (
        {"labels.threshold": "0,25"},
        f"config.labels.threshold = '0,25' must be {THRESHOLD} (did you mean '0.25'?), such as "
        "'train'.",
    ),
    (
        {"labels.threshold": "trian"},
        f"config.labels.threshold = 'trian' must be {THRESHOLD} (did you mean 'train'?), such as "
        "'train'.",
    ),
    ({"labels.threshold": "1.0"}, f"config.labels.threshold = '1.0' must be {THRESHOLD}, such as"),
    ({"labels.threshold": "nan"}, f"config.labels.threshold = 'nan' must be {THRESHOLD}, such as"),
    (
        {"labels.default_threshold": 1.5},
        "config.labels.default_threshold = 1.5 must be at least 0 and below 1, such as 0.25.",
    ),
    (
        {"refine.random_walk.affinity.epochs": 0},
        "config.refine.random_walk.affinity.epochs = 0 must be at least 1, such as 8.",
    ),
    (
        {"refine.random_walk.affinity.batch_size": 0},
        "config.refine.random_walk.affinity.batch_size = 0 must be at least 1, such as 16.",
    ),
    (
        WALK | {"refine.random_walk.affinity.crop_size": 100},
        "config.refine.random_walk.affinity.crop_size = 100 must be a multiple of the network's "
        "output stride, 16, as each cell of the network has one label, and 5 cells at least, or "
        "there are no pairs. Set it to 96 or 112.",
    ),
    (WALK | {"refine.random_walk.affinity.crop_size": 64}, "Set it to 80 or 96."),
    (
        {"segmentation.batch_size": 0},
        "config.segmentation.batch_size = 0 must be at least 1, such as 16.",
    ),
    (
        {"segmentation.scales": ()},
        "config.segmentation.scales = () must be a tuple of at least one value, all above 0, such "
        "as (0.5, 0.75, 1.0, 1.25, 1.5, 1.75).",
    ),
    ({"refine.crf.iterations": 0}, "config.refine.crf.iterations = 0 must be at least 1, such as"),
    (
        {"instances.peak_share": 1.5},
        "config.instances.peak_share = 1.5 must be from 0 to 1, such as 0.5.",
    ),
    (
        {"instances.peak_threshold": -1.0},
        "config.instances.peak_threshold = -1.0 must be at least 0, such as 0.0.",
    ),
    ({"hfpl.num_samples": 0}, "config.hfpl.num_samples = 0 must be at least 1, such as 10."),
    ({"hfpl.sigma": -1.0}, "config.hfpl.sigma = -1.0 must be at least 0, such as 2.5."),
    (
        {"method.name": "saem"},
        "config.method.name = 'saem' must be one of cam, drs, group, mctformer, ppc, prm, probe, "
        "puzzle, seam, sipe (did you mean 'seam'?).",
    ),
    (
        {"model.backbone": "resnet5"},
        "config.model.backbone = 'resnet5' must be one of resnet18, resnet34, resnet50, resnet101, "
        "resnet38, vgg16, vit_tiny16, vit_small16, vit_base16, deit_tiny16, deit_small16, "
        "deit_base16, deit_tiny16_distilled, deit_small16_distilled, deit_base16_distilled, "
        "dino_small16, dino_base16, dinov2_small14, dinov2_base14, dinov2_small14_registers, "
        "dinov2_base14_registers, clip_base16 (did you mean 'resnet50'?).",
    ),
    (
        {"model.dtype": "bf16"},
        "config.model.dtype = 'bf16' must be one of float32, bfloat16 (did you mean 'bfloat16'?).",
    ),
    (
        {"model.precision": "float32"},
        "config.model.precision = 'float32' must be one of default, high, highest.",
    ),
    ({"train.crop_size": 0}, "config.train.crop_size = 0 must be at least 1, such as 448."),
    ({"seed": -1}, "config.seed = -1 must be from 0 to 4294967295, such as 0."),
    # Their brothers
    ({"seed": 2**32}, "config.seed = 4294967296 must be from 0 to"),
    (
        {"train.crop_size": 8},
        "config.train.crop_size = 8 is less than one cell of the network's maps, 16 pixels. Set it "
        "to 16 at least.",
    ),
    (FINAL | {"segmentation.crop_size": 15}, "config.segmentation.crop_size = 15 is less than one"),
    (
        {"method.name": "seam", "train.crop_size": 48, "method.seam.view_scale": 0.02},
        "config.method.seam.view_scale = 0.02 of config.train.crop_size = 48 leaves no pixel of "
        "SEAM's second view. Raise one of the two.",
    ),
    (
        {"method.seam.view_scale": 0.0},
        "config.method.seam.view_scale = 0.0 must be above 0 and at most 1",
    ),
    ({"train.epochs": 0}, "config.train.epochs = 0 must be at least 1, such as 4."),
    ({"train.batch_size": -8}, "config.train.batch_size = -8 must be at least 1"),
    ({"train.learning_rate": 0.0}, "config.train.learning_rate = 0.0 must be above 0, such as"),
    ({"train.sgd.momentum": 1.0}, "config.train.sgd.momentum = 1.0 must be at least 0 and below 1"),
    (
        {"train.momentum": 0.9},
        "config.train.momentum is no field. config.train has init_from, epochs,",
    ),
    (
        {"train.optimizer": "adam"},
        "config.train.optimizer = 'adam' must be one of sgd, adamw (did you mean 'adamw'?).",
    ),
    (
        {"segmentation.schedule": "cosin"},
        "config.segmentation.schedule = 'cosin' must be one of poly, cosine, step, stairs (did",
    ),
    (
        {"refine.random_walk.affinity.adamw.beta": 0.9},
        "config.refine.random_walk.affinity.adamw.beta is no field (did you mean 'beta2'?).",
    ),
    ({"train.adamw.beta2": 1.0}, "config.train.adamw.beta2 = 1.0 must be at least 0 and below 1"),
    ({"train.adamw.epsilon": 0.0}, "config.train.adamw.epsilon = 0.0 must be above 0, such as"),
    (
        {"train.cosine.warm_up": 1.0},
        "config.train.cosine.warm_up = 1.0 must be at least 0 and below 1, such as 0.1.",
    ),
    ({"train.cosine.end": 1.5}, "config.train.cosine.end = 1.5 must be from 0 to 1, such as"),
    ({"train.weight_decay": -1e-4}, "config.train.weight_decay = -0.0001 must be at least 0"),
    ({"train.clip": -1.0}, "config.train.clip = -1.0 must be at least 0"),
    (
        {"refine.random_walk.affinity.poly.power": -0.9},
        "config.refine.random_walk.affinity.poly.power = -0.9 must be at least 0",
    ),
    (
        {"train.resize_long": (448, 256)},
        "config.train.resize_long = (448, 256) must be two numbers, both at least 1, the smaller "
        "one first, such as (448, 768).",
    ),
    (
        {"train.resize_long": (448,)},
        "config.train.resize_long = (448,) must be a tuple of 2 values, each a whole number",
    ),
    (
        {"train.no_decay": ("^backbone/(stem",)},
        "config.train.no_decay = ('^backbone/(stem',) must be regular expressions as Python's re "
        "knows them ('^backbone/(stem': missing ), unterminated subpattern at position 10)",
    ),
    ({"train.freeze_stages": -1}, "config.train.freeze_stages = -1 must be at least 0, such as 2."),
    (
        {"model.weights": "a.npz", "train.freeze_stages": 6},
        "config.train.freeze_stages = 6, but resnet50 has 5 stages: stem, layer1, layer2, layer3, "
        "layer4. Set it to 5 at most.",
    ),
    (
        FINAL | {"segmentation.init_from": "runs/a/segmentation", "segmentation.freeze_stages": 9},
        "config.segmentation.freeze_stages = 9, but resnet50 has 5 stages",
    ),
    ({"train.no_decay": ("*",)}, "('*': nothing to repeat at position 0)"),
    ({"train.multipliers": (("[", 2.0),)}, "unterminated character set at position 0"),
    (
        {"train.multipliers": (("^head/", -2.0),)},
        "must be pairs (pattern, factor) whose factors are at least 0",
    ),
    (
        {"train.multipliers": ("^head/", 10.0)},
        "must be a tuple, each value a pair (a text, a number), such as",
    ),
    ({"inference.scales": ()}, "config.inference.scales = () must be a tuple of at least one"),
    ({"inference.scales": (1.0, 0.0)}, "all above 0, such as (0.5, 1.0, 1.5, 2.0)."),
    ({"inference.long_side": -1}, "config.inference.long_side = -1 must be at least 0"),
    (
        {"inference.image_labels": "predict"},
        "config.inference.image_labels = 'predict' must be one of given, predicted (did you mean "
        "'predicted'?).",
    ),
    (
        {"refine.threshold.ignore_band": (0.3,)},
        "config.refine.threshold.ignore_band = (0.3,) must be empty, or (low,",
    ),
    (
        {"refine.threshold.ignore_band": (0.4, 0.2)},
        "with 0 <= low <= high <= 1, such as (0.2, 0.4).",
    ),
    (
        {"labels.threshold": "0.5", "refine.threshold.ignore_band": (0.1, 0.2)},
        "config.refine.threshold.ignore_band = (0.1, 0.2) does not hold the background threshold, "
        "0.5, which is config.labels.threshold or the method's own. Choose low <= threshold <= ",
    ),
    (
        {"method.name": "sipe", "refine.threshold.ignore_band": (0.1, 0.2)},
        "(0.1, 0.2) does not hold the background threshold, 0.5, which is",
    ),
    (
        {"refine.name": "randomwalk"},
        "must be one of threshold, crf, random_walk, refinement_learning, par, patch_affinity, "
        "superpixels, regions (did",
    ),
    ({"refine.par.steps": 0}, "config.refine.par.steps = 0 must be at least 1, such as 10."),
    (
        {"refine.par.dilations": (1, 0)},
        "config.refine.par.dilations = (1, 0) must be a tuple of at least one value, all at least "
        "1, such as (1, 2, 4, 8, 12, 24).",
    ),
    (
        {"refine.superpixels.count": 0},
        "config.refine.superpixels.count = 0 must be at least 1, such as 1000.",
    ),
    (
        {"refine.regions.count": 70_000},
        "config.refine.regions.count = 70000 must be from 1 to 65535, such as 300.",
    ),
    (
        {"refine.patch_affinity.power": 0.0},
        "config.refine.patch_affinity.power = 0.0 must be above 0, such as 3.0.",
    ),
    (
        {"refine.name": "patch_affinity", "model.weights": "", "train.init_from": "runs/a/train"},
        "config.model.weights is empty, but config.refine.name = 'patch_affinity' looks at "
        "photographs with it. Set it to a file of ImageNet weights, such as resnet50.safetensors, "
        "or to 'random'.",
    ),
    ({"refine.crf.algorithm": "fast"}, "config.refine.crf.algorithm = 'fast' must be one of"),
    ({"refine.crf.sxy": 0.0}, "config.refine.crf.sxy = 0.0 must be above 0, such as 67.0."),
    ({"refine.crf.weight": -1.0}, "config.refine.crf.weight = -1.0 must be at least 0"),
    (
        {"refine.random_walk.alpha": -6.0},
        "config.refine.random_walk.alpha = -6.0 must be at least 0",
    ),
    (
        {"refine.random_walk.beta": 0},
        "config.refine.random_walk.beta = 0 must be at least 1, such as 8.",
    ),
    ({"refine.random_walk.steps": -1}, "config.refine.random_walk.steps = -1 must be at least 0"),
    (
        {"refine.random_walk.affinity.alphas": (24.0, 1.0)},
        "config.refine.random_walk.affinity.alphas = (24.0, 1.0) must be two numbers, both above "
        "0, the smaller one first, such as (1.0, 24.0).",
    ),
    ({"refine.random_walk.affinity.alphas": (1.0,)}, "must be a tuple of 2 values, each a number"),
    ({"segmentation.scale_range": (0.0, 1.5)}, "two numbers, both above 0, the smaller one first"),
    ({"segmentation.head": "deeplab"}, "must be one of deeplab_v1, deeplab_v2, ocr (did"),
    (
        {"segmentation.loss": "ce"},
        "config.segmentation.loss = 'ce' must be one of cross_entropy, lal",
    ),
    ({"segmentation.lal.k": 0.5}, "config.segmentation.lal.k = 0.5 must be at least 1, such as"),
    (
        FINAL | {"segmentation.loss": "lal", "segmentation.crop_size": 96},
        "config.segmentation.lal.window = 7 does not fit into the logits of a crop, 6 x 6 cells of "
        "16 pixels. Set it to 6 at most and odd, or make config.segmentation.crop_size larger.",
    ),
    (
        FINAL | {"segmentation.loss": "lal", "segmentation.lal.window": 4},
        "config.segmentation.lal.window = 4 has no cell in its centre, which "
        "config.segmentation.lal.mode = 'center' takes the class of. Set it to 3 or 5.",
    ),
    ({"segmentation.batch_norm_momentum": 0.0}, "must be above 0 and at most 1, such as 0.0003."),
    (
        {"segmentation.epochs": 1},
        'Name "array_record" among config.export.formats and set config.export.image to True.',
    ),
    (
        FINAL | {"segmentation.objective": "cotraining", "export.confidence": False},
        "config.segmentation.objective = 'cotraining' tells labelled photographs from others by "
        "their confidence maps. Set config.export.confidence to True.",
    ),
    (
        FINAL | {"segmentation.supervised.share": 0.5, "export.confidence": False},
        "Set config.export.confidence to True.",
    ),
    ({"segmentation.objective": "cycles"}, "one of supervised, cotraining, cycle (did you mean"),
    ({"segmentation.cycle.share": 0.0}, "cycle.share = 0.0 must be above 0 and at most 1, such"),
    (
        {"segmentation.cotraining.diversity_ramp": (0.5, 0.2)},
        "two numbers, both from 0 to 1, the smaller one first",
    ),
    (FINAL | {"data.val_split": ""}, "Name a split, or set config.segmentation.epochs to 0."),
    ({"hfpl.isl_weight": 1.2}, "config.hfpl.isl_weight = 1.2 must be from 0 to 1, such as 0.2."),
    ({"hfpl.fsl_weight": float("nan")}, "config.hfpl.fsl_weight = nan must be a number, at least"),
    ({"hfpl.mu": 50.0}, "config.hfpl.mu = 50.0 must be from -20 to 20, such as 2.5."),
    ({"hfpl.window": -1}, "config.hfpl.window = -1 must be at least 0, such as 0."),
    ({"export.formats": ("png", "tfrecords")}, "did you mean 'tfrecord'?"),
    ({"export.formats": ("png", "png")}, "each once."),
    ({"export.formats": ()}, "one or several of tfrecord, array_record, png"),
    ({"export.formats": "png"}, "must be a tuple, each value a text"),
    ({"run.num_workers": -1}, "config.run.num_workers = -1 must be at least 0"),
    ({"run.shard_size": 0}, "config.run.shard_size = 0 must be at least 1"),
    ({"run.log_every": 0}, "config.run.log_every = 0 must be at least 1"),
    ({"report.photographs": 0}, "config.report.photographs = 0 must be at least 1"),
    ({"data.name": "voc"}, "config.data.name = 'voc' must be one of scenes, voc_seg, coco_seg"),
    ({"data.on_bad_record": "ignore"}, "must be one of raise, skip."),
    ({"data.train_split": ""}, "config.data.train_split is empty. Name the split to train on"),
    (
        {"model.resnet.output_stride": 4},
        "config.model.resnet.output_stride = 4 must be one of 8, 16, 32",
    ),
    ({"model.resnet38.width": 0}, "config.model.resnet38.width = 0 must be at least 1, such as 64"),
    ({"model.resnet": 50}, "config.model.resnet = 50 must be a section of fields."),
    ({"model.dropout": 1.0}, "config.model.dropout = 1.0 must be at least 0 and below 1"),
    # Wrong types
    (
        {"train.epochs": "four"},
        "config.train.epochs = 'four' must be a whole number, at least 1, such as 4.",
    ),
    ({"train.epochs": 2.5}, "config.train.epochs = 2.5 must be a whole number, at least 1, such"),
    ({"train.epochs": True}, "config.train.epochs = True must be a whole number"),
    ({"inference.flip": 1}, "config.inference.flip = 1 must be True or False, such as True."),
    ({"labels.threshold": 0.25}, "config.labels.threshold = 0.25 must be a text, "),
    ({"inference.scales": 1.0}, "must be a tuple, each value a number, such as (0.5, 1.0"),
    ({"data.options": "year"}, "config.data.options = 'year' must be a dictionary, such as {}."),
    ({"train": 3}, "config.train = 3 must be a section of fields."),
    # Fields that are not there
    (
        {"train.epoch": 3},
        "config.train.epoch is no field (did you mean 'epochs'?). config.train has init_from,",
    ),
    ({"trian": 3}, "config.trian is no field (did you mean 'train'?)"),
    ({"inference.checkpoint": "best"}, "config.inference.checkpoint is no field."),
    # Weights
    (
        {"model.weights": "resnet50.pth"},
        "config.model.weights = 'resnet50.pth' must be a file of the kind .safetensors, .npz, "
        ".params, or 'random'. Save a PyTorch state dict with safetensors.torch.save_file.",
    ),
    (
        {"model.weights": "", "neighbours.enabled": True, "train.init_from": "runs/a/train"},
        "config.model.weights is empty, but neighbours are found with it "
        "(config.neighbours.enabled). Set it to a file of ImageNet weights, such as "
        "resnet50.safetensors, or to 'random'.",
    ),
    (
        {"instances.enabled": True, "model.backbone": "deit_small16"},
        "config.instances.enabled = True traces peaks back through convolutions, but "
        "config.model.backbone = 'deit_small16' is a transformer. Choose one of convolutions, such "
        "as 'resnet50', or set it to False.",
    ),
    (
        {"method.name": "mctformer", "model.backbone": "resnet50"},
        "config.method.name = 'mctformer' needs a vision transformer, but config.model.backbone = "
        "'resnet50'. Set it to one, such as 'deit_small16'.",
    ),
    (
        {"pretrain.epochs": 2, "model.weights": "a.npz"},
        "config.pretrain.epochs = 2 makes a backbone in the place of random weights, but "
        "config.model.weights is 'a.npz'. Set that to 'random', or the epochs to 0 to start from "
        "the file alone.",
    ),
    (
        {"pretrain.epochs": 2, "method.name": "probe"},
        "config.pretrain.epochs = 2 is for networks that go on learning, but the backbone of",
    ),
    (
        {"pretrain.epochs": 2, "model.backbone": "deit_small16"},
        "config.pretrain.epochs = 2 learns from maps of convolutions, but config.model.backbone = "
        "'deit_small16' is a transformer.",
    ),
    (
        {"pretrain.epochs": 2, "train.init_from": "runs/a/train"},
        "config.pretrain.epochs = 2 makes what the classifier starts from, but "
        "config.train.init_from = 'runs/a/train' names another start. Leave one of the two out.",
    ),
    (
        {"pretrain.epochs": 2, "pretrain.crop_size": 111},
        "config.pretrain.crop_size = 111 gives the backbone maps too small for 7x7 and 5x5 parts. "
        "Set it to 112 at least.",
    ),
    (
        {"pretrain.epochs": 2, "pretrain.split": "val"},
        "config.pretrain.split and config.data.val_split are both 'val', so the figures of val",
    ),
    (
        {"pretrain.batch_size": 2},
        "config.pretrain.batch_size = 2 must be at least 4: two photographs, each of which is told "
        "from the other, in two views, such as 128.",
    ),
    (
        {"neighbours.long_side": 31},
        "config.neighbours.long_side = 31 must be at least 32, such as 224.",
    ),
    (
        {"model.weights": "a.npz", "model.resnet.width": 32},
        "config.model.resnet.width = 32, but it is 64 in the networks of weight files. Set it to "
        "64, or config.model.weights to 'random'.",
    ),
]


@pytest.mark.parametrize(
    ("fields", "sentence"), SENTENCES, ids=[" ".join(map(str, row[0])) for row in SENTENCES]
)
def test_a_slip_is_one_sentence(fields, sentence):
    with pytest.raises(InputError) as told:
        Settings.of(changed(fields))
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels.threshold": "0.25", "refine.threshold.ignore_band": (0.25, 0.25)},
        {"labels.threshold": "0"},
        {"train.sgd.momentum": 0, "hfpl.sigma": 0, "hfpl.isl_weight": 1},  # integers are numbers
        {"train.freeze_stages": 6},  # with random weights nothing is frozen
        {
            "model.weights": "a.npz",
            "train.freeze_stages": 5,
            "refine.random_walk.affinity.freeze_stages": 6,
        },
        {"refine.random_walk.affinity.crop_size": 100},  # no random walk, so nothing reads it
        WALK | {"refine.random_walk.affinity.crop_size": 80},
        FINAL | {"segmentation.crop_size": 96},  # cross-entropy has no windows
        {"segmentation.loss": "lal", "segmentation.crop_size": 96},  # no final network
        FINAL
        | {
            "segmentation.loss": "lal",
            "segmentation.lal.mode": "per_class",
            "segmentation.lal.window": 6,
            "segmentation.crop_size": 96,
        },
        {"method.name": "seam", "train.crop_size": 48},
        {
            "refine.random_walk.steps": 0,
            "segmentation.crf.iterations": 0,
            "train.resize_long": (64, 64),
        },
    ],
)
def test_what_is_at_the_edge_is_taken(fields):
    Settings.of(changed(fields))


def test_a_missing_field():
    config = changed({})
    del config.train.epochs
    with pytest.raises(
        InputError, match=r"The recipe has no config\.train\.epochs\. Start it from"
    ):
        Settings.of(config)


def test_the_default_configuration_is_that_of_the_dataclasses():
    flat = {path: field for _, path, field in fields(Settings)}
    assert set(flat) >= {
        "seed",
        "model.weights",
        "model.resnet.version",
        "refine.random_walk.affinity.alphas",
        "segmentation.scales",
    }
    config = default_config()
    for path, field in flat.items():
        value = config
        for name in path.split("."):
            value = value[name]
        expected = default_of(field)
        assert (value.to_dict() if isinstance(expected, dict) else value) == expected
        assert field.metadata["comment"]
    made = Settings.of(changed(WALK | {"refine.random_walk.affinity.epochs": 3}))
    assert (made.refine.own.affinity.epochs, made.train.epochs) == (3, 4)
    assert (config.train.sgd.momentum, config.segmentation.sgd.momentum) == (0.0, 0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.refine.own.affinity.epochs = 4
