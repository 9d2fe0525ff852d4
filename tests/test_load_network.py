"""`hfpl_jax.load` on a finished run of two small networks, of which nothing else is
there.
"""

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import ROOT
from finished_run import (
    BACKBONE,
    CLASSES,
    CLASSIFIER,
    FINAL,
    LABELS,
    ON_TRANSFORMER,
    change,
    modules,
    photographs,
    variables_of,
    write_photographs,
    write_run,
    write_training,
)
from PIL import Image

import hfpl_jax
from hfpl_jax.data.example import Example
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import as_stored
from hfpl_jax.inference.padding import scaled_size
from hfpl_jax.inference.pseudo_labels import confidence, margin
from hfpl_jax.inference.segmentation import merged_probabilities
from hfpl_jax.masks import label_map
from hfpl_jax.methods import METHODS
from hfpl_jax.methods.merge import merge_cams
from hfpl_jax.model_file import read_model, write_model
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.refine import CrfSettings, dense_crf
from hfpl_jax.refine.background import threshold_background

NUMBERS = [tuple(sorted(CLASSES.index(name) for name in shown)) for shown in LABELS]
COMPARED = (1, 4, 0)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir)
    return workdir


@pytest.fixture(scope="module")
def classifier(workdir):
    return hfpl_jax.load(workdir, "cam")


@pytest.fixture(scope="module")
def final(workdir):
    return hfpl_jax.load(workdir)


@pytest.fixture(scope="module")
def by_hand():
    """`by_hand(stage, pixels)`: logits of each scale, both views added up, and the
    sizes they are of; unpadded and alone.
    """
    networks = {stage: jax.jit(module.apply) for stage, module in modules().items()}
    variables = {stage: variables_of(stage) for stage in networks}

    def logits(stage, pixels):
        maps, sizes = [], []
        for scale in CLASSIFIER.scales:
            scaled = resize(pixels, *scaled_size(pixels.shape[:2], scale))
            views = []
            for each in (scaled, scaled[:, ::-1]):
                images = normalize(jnp.asarray(each[None]), jnp.ones((1, *each.shape[:2]), bool))
                output = networks[stage](variables[stage], images)
                views.append(np.asarray(getattr(output, "logits", output))[0])
            maps.append(views[0] + views[1][:, ::-1])
            sizes.append(scaled.shape[:2])
        return maps, sizes

    return logits


def pooled(maps):
    return 1 / (1 + np.exp(-np.mean([each.mean((0, 1)) / 2 for each in maps], axis=0)))


def test_the_library_is_light_until_a_network_is_loaded():
    code = "import sys, hfpl_jax; hfpl_jax.load; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_cams_of_given_classes(classifier, by_hand):
    images = photographs()
    shown = [[*names] for names in LABELS]
    shown[1] = [2, "dog"]  # in any order, by number or name
    cams = classifier.cams(images, shown)
    assert [each.shape for each in cams] == [
        (*image.shape[:2], len(names)) for image, names in zip(images, LABELS, strict=True)
    ]
    for index in COMPARED:
        maps, sizes = by_hand("train", images[index])
        maps = [each[..., list(NUMBERS[index])] for each in maps]
        expected = merge_cams(maps, sizes, images[index].shape[:2])
        np.testing.assert_allclose(cams[index], np.maximum(expected, 0), atol=1e-3)
        assert cams[index].max() > 0.9


def test_masks_of_given_classes_are_those_of_their_cams_at_the_threshold(classifier):
    images = photographs()
    cams = classifier.cams(images, LABELS)
    for index, made in enumerate(classifier.predict(images, LABELS)):
        stored, classes = as_stored(cams[index]), np.array(NUMBERS[index], np.int64)
        assert made.classes == NUMBERS[index]
        np.testing.assert_array_equal(made.mask, label_map(stored, classes, threshold=0.4))
        np.testing.assert_array_equal(made.confidence, confidence(stored, threshold=0.4))
        assert made.mask.any() == bool(NUMBERS[index])


@pytest.mark.parametrize("method", ["cam", "mctformer"])
def test_a_transformer_makes_the_same_of_photographs_in_any_company(tmp_path, method):
    """Of sizes that no patch divides, in padded batches or alone."""
    head = {"name": method, "settings": dataclasses.asdict(METHODS[method]())}
    model = dataclasses.replace(CLASSIFIER, head=head, scales=(1.0,), **ON_TRANSFORMER)
    network = hfpl_jax.load(write_training(tmp_path, "train", model))
    images, numbers = photographs(), {index for index in COMPARED if NUMBERS[index]}
    together = network.predict(images, LABELS)
    for index in numbers:
        [alone] = network.predict([images[index]], [LABELS[index]])
        assert together[index].classes == alone.classes == NUMBERS[index]
        assert np.mean(together[index].mask == alone.mask) > 0.99
        difference = together[index].confidence.astype(int) - alone.confidence
        assert np.median(np.abs(difference)) <= 1
        assert alone.mask.any()


def test_where_nobody_says_the_classes_are_those_above_the_cut(workdir, classifier, by_hand):
    images = [photographs()[index] for index in COMPARED]
    probabilities = np.array([pooled(by_hand("train", image)[0]) for image in images])
    low, high = np.sort(probabilities.ravel())[3:5]  # of nine
    model = dataclasses.replace(classifier.model, class_cut=float((low + high) / 2))
    found = dataclasses.replace(classifier, model=model).predict(images)
    assert high - low > 1e-4
    for made, expected in zip(found, probabilities, strict=True):
        assert made.classes == tuple(np.flatnonzero(expected >= high))
        assert set(np.unique(made.mask)) <= {0, *(1 + label for label in made.classes)}


def test_the_crf_sharpens_what_the_stage_crf_would(classifier):
    pixels = photographs()[0]
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    photograph = Example("0.png", png.getvalue(), np.array([0, 2]), None, *pixels.shape[:2])
    rng, sizes = np.random.default_rng(0), [(30, 42), (40, 56)]
    maps = [rng.normal(size=(*grid, 6)).astype(np.float32) for grid in ((4, 6), (5, 7))]
    plain, refined = (
        classifier.merge(given=True, refine=refine)(0, photograph, maps, sizes)
        for refine in (False, True)
    )
    cams = merge_cams([of_scale[..., [0, 2]] for of_scale in maps], sizes, pixels.shape[:2])
    scores = threshold_background(as_stored(cams), 0.4)
    settings = CrfSettings(2, bilateral_sxy=20.0, bilateral_srgb=5.0)
    scores = dense_crf(pixels, scores / scores.sum(axis=-1, keepdims=True), settings=settings)
    np.testing.assert_array_equal(refined.mask, np.array([0, 1, 3])[scores.argmax(-1)])
    np.testing.assert_array_equal(refined.confidence, margin(scores))
    assert 0 < (refined.mask != plain.mask).mean() < 0.5


def test_the_final_network(final, by_hand):
    images = photographs()
    made = final.predict(images)
    restricted = final.predict(images, LABELS)
    for index in COMPARED:
        maps, sizes = by_hand("segmentation", images[index])
        scores = merged_probabilities([each / 2 for each in maps], sizes, images[index].shape[:2])
        best = scores.argmax(-1)
        np.testing.assert_allclose(
            made[index].confidence.astype(int), margin(scores).astype(int), atol=2
        )
        near = margin(scores) <= 1
        assert ((made[index].mask == best) | near).all()
        assert made[index].classes == tuple(np.setdiff1d(made[index].mask, [0]) - 1)
        # Told what is there, it chooses among that and the background.
        channels = [0, *(1 + number for number in NUMBERS[index])]
        among = np.array(channels)[scores[..., channels].argmax(-1)]
        certain = restricted[index].confidence > 1
        assert (restricted[index].mask == among)[certain].all()
        assert restricted[index].classes == NUMBERS[index]
    assert len({value for each in made for value in np.unique(each.mask)}) > 2


def test_arrays_and_files_give_the_same(final, tmp_path):
    folder = write_photographs(tmp_path / "photographs")
    paths = [folder / "a" / "0.png", str(folder / "4.png")]
    images = photographs()
    for of_file, of_array in zip(
        final.predict(iter(paths)), final.predict([images[0], images[4]]), strict=True
    ):
        np.testing.assert_array_equal(of_file.mask, of_array.mask)
    assert final.predict([]) == []


def test_the_final_network_comes_first_and_a_training_stands_alone(
    workdir, classifier, final, tmp_path
):
    assert (final.model, classifier.model) == (FINAL, CLASSIFIER)
    shutil.copytree(workdir / "train" / "0a", tmp_path / "moved")
    moved = hfpl_jax.load(tmp_path / "moved", batch_size=1)
    assert moved.model == CLASSIFIER
    assert moved.predictor.settings.batch_size == 4  # with mirrored images one for each device
    shutil.copytree(workdir / "train", tmp_path / "run" / "train")
    assert hfpl_jax.load(tmp_path / "run").model == CLASSIFIER


WRONG = {
    "an array of floats": (lambda net: net.predict([np.zeros((4, 4, 3))]), "Image 0 is an array"),
    "a class": (
        lambda net: net.cams([np.zeros((4, 4, 3), np.uint8)], [["dgo"]]),
        r"no class 'dgo' \(did you mean 'dog'\?\)\. Its classes are cat, dog, traffic light\.",
    ),
    "the number of lists": (
        lambda net: net.cams([np.zeros((4, 4, 3), np.uint8)], []),
        "classes for 0 images, but 1 images",
    ),
    "a missing file": (lambda net: net.predict(["nowhere.jpg"]), "Cannot read nowhere.jpg"),
}


@pytest.mark.parametrize("slip", WRONG)
def test_a_slip_is_a_sentence(classifier, slip):
    call, sentence = WRONG[slip]
    with pytest.raises(InputError, match=sentence):
        call(classifier)


def test_a_file_of_before_there_were_these(classifier, tmp_path):
    content = json.loads((classifier.folder / "model.json").read_text())
    for name in ("instances", "objective", "precision"):
        del content[name]
    (tmp_path / "model.json").write_text(json.dumps(content))
    assert read_model(tmp_path) == classifier.model
    assert classifier.peaks is None


def test_products_are_as_precise_as_those_of_the_run(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    instances = {"peak_threshold": 0.0, "peak_share": 0.5}
    change(run / "train/0a/model.json", precision="highest", instances=instances)
    change(run / "segmentation/0b/model.json", precision="highest")
    classifier, final = hfpl_jax.load(run, "cam"), hfpl_jax.load(run)
    of_peaks = classifier.peaks
    pixels, sizes = np.zeros((8, 32, 32, 3), np.uint8), np.full((8, 2), 32, np.int32)
    programs = [
        each.compiled.lower(each.variables, pixels, sizes)
        for each in (classifier.predictor, final.predictor, of_peaks.predictor)
    ]
    peaks = np.zeros((8, 3), np.int32)
    programs.append(of_peaks.respond.lower(of_peaks.variables, pixels, sizes, peaks))
    for program in programs:
        convolutions = re.findall(r"stablehlo.convolution.*", program.as_text())
        assert convolutions
        for each in convolutions:
            assert set(re.findall(r"precision (\w+)", each)) == {"HIGHEST"}


BAD_RUNS = {
    "no folder": (lambda run: shutil.rmtree(run), "There is no folder .*Name the workdir"),
    "no training": (
        lambda run: shutil.rmtree(run / "train"),
        "holds no finished training of a classifier",
    ),
    "unfinished": (
        lambda run: change(run / "train/0a/manifest.json", done=False),
        "holds no finished training of a classifier.*goes on from where it stopped",
    ),
    "no model.json": (
        lambda run: (run / "train/0a/model.json").unlink(),
        "There is no .*model.json.*makes the file anew and trains nothing",
    ),
    "of another format": (
        lambda run: change(run / "train/0a/model.json", format=7, made_by="9.1"),
        r"has the format 7 of hfpl_jax 9\.1, and this one, .*, reads format 1\.",
    ),
    "no JSON": (
        lambda run: (run / "train/0a/model.json").write_text("{"),
        "model.json is damaged: it is no JSON object",
    ),
    "peaks of another kind": (
        lambda run: change(run / "train/0a/model.json", instances={"peak_share": 0.5}),
        "model.json is damaged .*Give the command of the run again",
    ),
    "a field of another kind": (
        lambda run: change(run / "train/0a/model.json", batch_size="8"),
        "model.json is damaged .*Give the command of the run again",
    ),
    "other colours": (
        lambda run: change(run / "train/0a/model.json", normalisation={"mean": [0, 0, 0]}),
        "normalises colours in another way",
    ),
    "an unknown method": (
        lambda run: change(run / "train/0a/model.json", head={"name": "new", "settings": {}}),
        "names the method 'new', which this program does not have",
    ),
    "settings of another version": (
        lambda run: change(
            run / "train/0a/model.json", backbone={**BACKBONE, "settings": {"output_stride": 8}}
        ),
        "has settings of the backbone 'resnet18' that this version does not take",
    ),
    "another stride": (
        lambda run: change(run / "train/0a/model.json", output_stride=16),
        "of output stride 16, but its backbone has 8",
    ),
    "other classes": (
        lambda run: change(run / "train/0a/model.json", class_names=["cat"]),
        "is of another network",
    ),
}


@pytest.mark.parametrize("damage", BAD_RUNS)
def test_a_bad_run_is_a_sentence(workdir, tmp_path, damage):
    run = shutil.copytree(workdir, tmp_path / "run")
    harm, sentence = BAD_RUNS[damage]
    harm(run)
    with pytest.raises(InputError, match=sentence):
        hfpl_jax.load(run, "cam")


def test_without_a_threshold_the_cure_is_the_run(workdir, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")
    write_model(run / "train/0a", dataclasses.replace(CLASSIFIER, threshold=None, class_cut=None))
    network = hfpl_jax.load(run, "cam")
    assert network.cams([np.zeros((9, 9, 3), np.uint8)], [[]])[0].shape == (9, 9, 0)
    with pytest.raises(InputError, match="has no threshold yet: the stage metrics"):
        network.predict([])


def test_the_file_says_what_was_written(tmp_path):
    for model in (CLASSIFIER, FINAL):
        write_model(tmp_path, model)
        before = (tmp_path / "model.json").stat().st_mtime_ns
        write_model(tmp_path, model)  # nothing is new
        assert read_model(tmp_path) == model
        assert (tmp_path / "model.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("value", [None, -1, 2**70, 0.5, "", [], {}, [[]], [None], "../../x", True])
def test_whatever_a_field_holds_is_told_in_a_sentence(tmp_path, value):
    write_model(tmp_path, CLASSIFIER)
    whole = (tmp_path / "model.json").read_text()
    for field in json.loads(whole):
        (tmp_path / "model.json").write_text(whole)
        change(tmp_path / "model.json", **{field: value})
        try:
            model = read_model(tmp_path)
        except InputError as error:
            assert "model.json" in str(error)  # noqa: PT017 (some values are sound)
        else:
            assert field == "made_by" or json.loads(json.dumps(getattr(model, field))) == value


def of_another():
    """Variables of a second final network, whose masks hold several classes too."""
    module = modules()["segmentation"]
    variables = jax.jit(module.init)(jax.random.key(2), jnp.zeros((1, 32, 32, 3)))
    variables["params"]["head"] = jax.tree.map(
        lambda leaf: 30.0 * leaf, variables["params"]["head"]
    )
    return variables


def test_a_pair_says_the_mean_of_two_probabilities(tmp_path):
    both = {"first": variables_of("segmentation"), "second": of_another()}
    together = {
        kind: {name: each[kind] for name, each in both.items()}
        for kind in ("params", "batch_stats")
    }
    model = dataclasses.replace(FINAL, objective="cotraining", scales=(1.0,))
    network = hfpl_jax.load(write_training(tmp_path, "segmentation", model, together))
    pixels = photographs()[0]
    views = np.stack([pixels, pixels[:, ::-1]])
    images = normalize(views, np.ones(views.shape[:3], bool))
    module = modules()["segmentation"]
    maps = [np.asarray(jax.jit(module.apply)(each, images), np.float64) for each in both.values()]
    shares = [np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in maps]
    logs = np.log(np.mean(shares, axis=0))
    logs = (logs[0] + logs[1, :, ::-1]) / 2
    expected = merged_probabilities([logs.astype(np.float32)], [pixels.shape[:2]], pixels.shape[:2])
    [made] = network.predict([pixels])
    assert np.mean(made.mask == expected.argmax(-1)) > 0.999
    np.testing.assert_allclose(made.confidence, margin(expected), atol=2)
    assert len(np.unique(made.mask)) > 1
    alone = [
        merged_probabilities([each[0]], [pixels.shape[:2]], pixels.shape[:2]).argmax(-1)
        for each in maps
    ]
    assert min(np.mean(each != made.mask) for each in alone) > 0.01  # or the test would not see it


def test_of_a_cycle_the_final_network_alone_is_read(tmp_path, final):
    own = variables_of("segmentation")
    whole = {
        "params": {"segmenter": own["params"], "generator": {"first": jnp.zeros(3)}},
        "batch_stats": {"segmenter": own["batch_stats"]},
    }
    model = dataclasses.replace(FINAL, objective="cycle")
    network = hfpl_jax.load(write_training(tmp_path, "segmentation", model, whole))
    assert set(network.predictor.variables["params"]) == {"segmenter"}
    images = photographs()[:2]
    for found, expected in zip(network.predict(images), final.predict(images), strict=True):
        np.testing.assert_array_equal(found.mask, expected.mask)


def test_an_objective_that_is_not_known(tmp_path):
    folder = write_training(tmp_path, "segmentation", FINAL)
    change(folder / "model.json", objective="tritraining")
    with pytest.raises(InputError, match=r"names the objective 'tritraining', which this program"):
        hfpl_jax.load(tmp_path)
