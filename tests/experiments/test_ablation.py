"""The ablation: its tables and figures, and a small run of it that is resumed."""

import datetime
import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from end_to_end import ROOT, TINY, flags
from PIL import Image

from experiments.ablation import __main__ as ablation
from experiments.ablation import cells, pictures, tables
from experiments.ablation.figure import figure
from experiments.results import NOT_RECORDED, read
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime.manifest import read_manifest, result_folder
from hfpl_jax.runtime.provenance import machine
from hfpl_jax.runtime.records import RecordReader


def run_of(figures, threshold=0.2):
    return {
        "figures": {"threshold": threshold, **figures},
        "seconds": {"train": 60.0, "cams": 30.0},
        "notices": [],
    }


def figures(kind, value, roles=tables.ROLES):
    return {f"{role}/{kind}/{key}": value for role in roles for key in tables.FIGURES.values()}


def test_table_has_a_row_for_every_kind_of_masks():
    first = run_of(figures("cam", 0.30) | figures("segmentation", 0.5, roles=("val",)))
    table = tables.losses({"GAP": {"0": first, "1": run_of(figures("cam", 0.34), threshold=0.25)}})
    _, _, cam, final = table.splitlines()
    assert cam == "| GAP | cam |" + " 32.0 ± 2.8 |" * 6 + " 0.20, 0.25 | 1.5 |"
    assert final == "| GAP | segmentation |" + "  |" * 3 + " 50.0 |" * 3 + " 0.20, 0.25 | 1.5 |"


def test_table_and_figure_where_val_has_no_masks():
    runs = {
        "0": run_of(figures("cam", 0.3, ("train",))),
        "1": run_of(figures("cam", 0.5, ("train",))),
    }
    results = {"GAP": runs, "+both": {"0": run_of(figures("cam", 0.6, ("train",)))}}
    assert tables.losses(results).splitlines()[2] == (
        "| GAP | cam |" + " 40.0 ± 14.1 |" * 3 + "  |" * 3 + " 0.20, 0.20 | 1.5 |"
    )
    (axes,) = figure(results).axes
    assert axes.get_title() == "train CAMs"
    points = [list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()]
    assert points == [[(30, 30), (50, 50)], [(40, 40)], [(60, 60)], [(60, 60)]]
    assert figure({"GAP": {"0": run_of({})}}) is None


def test_a_panel_for_every_split_that_has_masks():
    results = {"GAP": {"0": run_of(figures("cam", 0.3))}, "+ISL": {"0": run_of({})}}
    panels = figure(results).axes
    assert [axes.get_title() for axes in panels] == ["train CAMs", "val CAMs"]
    for axes in panels:
        assert [line.get_label() for line in axes.get_lines()[1::2]] == ["GAP"]


def test_notices_name_their_cell_and_seed():
    bad = run_of({}) | {"notices": ["The threshold is 0.00."]}
    results = {"GAP": {"0": run_of({})}, "+ISL": {"0": run_of({}), "1": bad}}
    assert tables.notices(results) == "Notice, +ISL, seed 1: The threshold is 0.00.\n"


def test_both_losses_add_what_they_add_within_a_seed():
    """Seeds whose levels differ by more than the losses add."""
    levels, gains = (0.3, 0.5, 0.4), (0.02, 0.03, -0.01)
    results = {
        "seam, GAP": {str(n): run_of({"train/cam/miou": level}) for n, level in enumerate(levels)},
        "seam, +both": {
            str(n): run_of({"train/cam/miou": level + gain})
            for n, (level, gain) in enumerate(zip(levels, gains, strict=True))
        },
        "puzzle, GAP": {"0": run_of(figures("cam", 0.3))},
        "puzzle, +both": {"0": run_of(figures("cam", 0.4)), "1": run_of(figures("cam", 0.9))},
        "cam, GAP": {"0": run_of(figures("cam", 0.3))},
    }
    head, _, *rows = tables.differences(results).splitlines()
    assert head == ("| both losses add | train mIoU | train contour F | val mIoU | val contour F |")
    assert rows == [
        "| seam | +1.3 ± 2.1 (2 of 3) |  |  |  |",
        "| puzzle |" + " +10.0 (1 of 1) |" * 4,
    ]
    assert tables.differences({"GAP": {"0": run_of(figures("cam", 0.3))}}) == ""


def test_what_losses_add_has_an_interval():
    results = {
        "GAP": {str(seed): run_of(figures("cam", 0.3)) for seed in range(3)},
        "+FSL": {
            str(seed): run_of(figures("cam", 0.3 + gain))
            for seed, gain in enumerate((0.01, 0.02, 0.03))
        },
        "+both": {"0": run_of(figures("cam", 0.4))},
    }
    head, _, *rows = tables.intervals(results).splitlines()
    assert head == "| losses | train mIoU | train contour F | val mIoU | val contour F |"
    # 4.303 is Student's t of two degrees of freedom; 1 / sqrt(3) the mean's deviation.
    assert rows == ["| +FSL |" + " +2.0 (-0.5 to 4.5) |" * 4]
    assert tables.intervals({"GAP": results["GAP"]}) == ""


def test_instances_have_a_table_where_they_are_scored():
    scored = {f"val/instances/{name}": value for name, value in (("map_25", 0.5), ("pointing", 1))}
    results = {"GAP": {"0": run_of(figures("cam", 0.3))}, "+both": {"0": run_of(scored)}}
    head, _, *rows = tables.instances(results).splitlines()
    assert head.startswith("| losses | train mAP 0.25 | train 0.5 | train 0.75 | train pointing |")
    assert rows == ["| +both |  |  |  |  | 50.0 |  |  | 100.0 |"]
    assert tables.instances({"GAP": results["GAP"]}) == ""


def test_an_arrow_a_method():
    results = {
        f"{method}, {cell}": {
            seed: run_of(figures("cam", value + 0.01 * int(seed))) for seed in ("0", "1", "2")
        }
        for method, cell, value in (
            ("cam", "GAP", 0.29),
            ("cam", "+both", 0.39),
            ("seam", "GAP", 0.19),
            ("seam", "+both", 0.09),
        )
    }
    train, val = figure(results).axes
    for axes in (train, val):
        arrows = [(arrow.xyann, arrow.xy) for arrow in axes.texts]
        assert arrows == [
            (pytest.approx((30, 30)), pytest.approx((40, 40))),
            (pytest.approx((20, 20)), pytest.approx((10, 10))),
        ]
        said = [text.get_text() for text in axes.get_legend().get_texts()]
        assert said == ["cam", "seam", "GAP", "+both"]
        drawn = [line for line in axes.get_lines() if len(line.get_xdata())]
        colours = [line.get_color() for line in drawn]
        assert len(set(colours[:4])) == len(set(colours[4:])) == 1 != len(set(colours))


def test_methods_by_colour_and_cells_by_marker():
    results = {
        f"{method}, {cell}": {"0": run_of(figures("cam", 0.3))}
        for method in ("cam", "seam")
        for cell in cells.CELLS
    }
    axes, _ = figure(results).axes
    means = [line for line in axes.get_lines() if len(line.get_xdata())][1::2]
    looks = {(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in means}
    assert len(means) == len(looks) == 8


def test_the_recipes_of_several_methods(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = ablation.named_recipes(["--seeds", "2", "--workdir=x", "--methods=cam,seam"])
    assert found == {name: f"configs/{name}.py:data=voc,small" for name in ("cam", "seam")}
    found = ablation.named_recipes(["--methods=puzzle", "--switches=data=coco"])
    assert found == {"puzzle": "configs/puzzle.py:data=coco"}
    assert ablation.named_recipes(["--config=configs/cam.py"]) == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--methods"], r"^Missing value for flag --methods\. Correct that option; see --help\.$"),
        (["--methods=cam", "--switches"], "^Missing value for flag --switches. Correct that"),
        (['--methods="cam'], r"^flag --methods=\"cam: .*\. Correct that option; see --help\.$"),
        (
            ["--methods=cam,seem"],
            r"names 'seem', but there is no configs/seem\.py \(did you mean 's",
        ),
        (["--methods=cam,"], r"names '', but there is no configs/\.py\. Name recipes of configs/"),
        (["--method=cam", "--workdir=x"], r"^Neither --config nor --methods is there\. Name a rec"),
        (["--methods=cam,seam,cam"], "^--methods names cam twice. Name it once"),
    ],
)
def test_methods_that_are_none_are_told(arguments, told, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=told):
        ablation.named_recipes(arguments)


def test_what_only_one_of_the_methods_reads_may_be_set(monkeypatch):
    monkeypatch.chdir(ROOT)

    def check(*fields):
        line = ["--methods=cam,seam", "--workdir=x", "--config.train.batch_size=8", *fields]
        line += ["--config.data.root=x", "--config.model.weights=random"]
        name, recipes, _ = ablation.read(line)
        assert name == "configs/{cam,seam}.py:data=voc,small"
        cells.check_cells(recipes, ["GAP"], ["data", "train", "cams", "metrics"])
        return recipes

    recipes = check("--config.method.seam.view_scale=0.4")
    assert [recipe.typed.method.seam.view_scale for recipe in recipes] == [0.4, 0.4]
    with pytest.raises(InputError, match=r"config\.method\.puzzle\.ramp = 0\.25 has no effect"):
        check("--config.method.puzzle.ramp=0.25")


FIELDS = TINY | {"train.epochs": 1, "refine.name": "crf"}


def command(workdir, *arguments):
    recipe = ["--config=configs/quickstart.py:debug", f"--workdir={workdir}", *flags(FIELDS)]
    return subprocess.run(
        [sys.executable, "-m", "experiments.ablation", *recipe, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_the_masks_are_of_the_cams(workdir, threshold, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "grid_png", lambda tiles, class_names: shown.extend(tiles))
    recipe = [f"--config={ROOT / 'configs' / 'quickstart.py'}:debug", f"--workdir={workdir}"]
    pictures.pictures(workdir, ablation.read([*recipe, *flags(FIELDS)])[1], ["GAP"])
    records = RecordReader(workdir / "gap-0" / "cams" / "val")
    cams = {record["file_name"]: CamRecord.decode(record) for record in records}
    assert len(shown) == 5
    for tile in shown:
        assert list(tile.maps) == ["truth", "GAP"]
        record = cams[tile.file_name]
        strongest = record.classes[record.cams.argmax(axis=-1)] + 1
        expected = np.where(record.cams.max(axis=-1) > threshold, strongest, 0)
        np.testing.assert_array_equal(tile.maps["GAP"], expected)
    assert any(tile.maps["GAP"].any() for tile in shown)


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch):
    done = command(tmp_path, "--cells=GAP", "--seeds=1", "--until=metrics")
    assert done.returncode == 0, done.stderr
    study = read(tmp_path / "results.json")
    assert study["config"] == "configs/quickstart.py:debug"
    assert study["machine"] == f"{machine()}, 8 x cpu, JAX {jax.__version__}"
    made = [read_manifest(tmp_path / "gap-0" / stage)["made_by"] for stage in ("train", "metrics")]
    assert {each.get("commit", NOT_RECORDED) for each in made} <= {*study["commit"].split(", ")}
    assert datetime.date.fromisoformat(study["date"][-10:])
    run = study["runs"]["GAP"]["0"]
    assert run["seconds"].keys() == {"train", "cams", "metrics"}
    cams = json.loads((tmp_path / "gap-0" / "metrics" / "metrics.json").read_text())
    assert run["notices"] == cams.pop("notices")
    assert run["figures"] == cams
    assert Image.open(tmp_path / "figure.png").size == (1170, 520)
    assert_the_masks_are_of_the_cams(tmp_path, run["figures"]["threshold"], monkeypatch)
    trained = result_folder(tmp_path / "gap-0" / "train") / "manifest.json"
    before = trained.stat().st_mtime_ns
    again = command(tmp_path, "--cells=GAP", "--seeds=1", "--until=labels")
    assert again.returncode == 0, again.stderr
    assert result_folder(tmp_path / "gap-0" / "train") / "manifest.json" == trained
    assert trained.stat().st_mtime_ns == before
    assert [row.split("|")[1:3] for row in again.stdout.splitlines() if row.startswith("| ")][
        1:
    ] == [[" GAP ", f" {kind} "] for kind in ("cam", "pseudo label")]


def test_variants_have_a_row_of_what_differs():
    cams = figures("cam", 0.3)
    results = {
        "crf, +both": {"0": run_of(cams | figures("pseudo_label", 0.4))},
        "walk, +both": {"0": run_of(cams | figures("pseudo_label", 0.5))},
    }
    results["walk, +both"]["0"]["seconds"] = {"train": 60.0, "cams": 30.0, "affinity": 90.0}
    results["crf, +both"]["1"] = results["crf, +both"]["0"]
    results["walk, +both"]["1"] = results["walk, +both"]["0"]
    head, _, *rows = tables.variants(results).splitlines()
    assert head.endswith("| val contour F, 255 ignored | minutes of affinity |")
    assert rows == [
        "| crf, +both | pseudo label |" + " 40.0 ± 0.0 |" * 6 + "  |",
        "| walk, +both | pseudo label |" + " 50.0 ± 0.0 |" * 6 + " 1.5 |",
    ]
    # While it still runs, a seed that only the first has is no difference.
    del results["walk, +both"]["1"]
    assert len(tables.variants(results).splitlines()) == 4


def test_variants_differ_in_their_fields_and_share_a_folder(tmp_path):
    _, recipes, asked = ablation.read(
        [
            f"--config={ROOT / 'configs' / 'quickstart.py'}",
            f"--workdir={tmp_path}",
            "--vary=as written",
            "--vary=LAL, k = 2: segmentation.epochs=3 train.epochs=7",
        ]
    )
    plain, other = recipes
    assert plain.typed.segmentation.epochs == plain.as_written.segmentation.epochs != 3
    assert (other.typed.segmentation.epochs, other.typed.train.epochs) == (3, 7)
    assert [each.row("GAP") for each in recipes] == ["as written, GAP", "LAL, k = 2, GAP"]
    assert cells.method_and_cell(other.row("+both")) == ("LAL, k = 2", "+both")
    assert {each.folder(tmp_path, "+both", 1) for each in recipes} == {tmp_path / "both-1"}
    assert asked["vary"].value


SLIPS = {
    "--vary=refine.name=crf": "--vary='refine.name=crf' has no name. Write NAME: FIELD=VALUE",
    "--vary=crf: crf": "--vary='crf: crf': 'crf' sets no field. Write FIELD=VALUE, such as",
    "--vary=crf: refine.nam=crf": "no field config.refine.nam (did you mean 'name'?)",
    "--vary=crf: refine.name='crf": "No closing quotation. Close every quotation mark.",
    "--cells=GAP,+all": "Unknown cells ['+all'] in --cells. Known are GAP, +ISL, +FSL, +both.",
    "--cells=": "--cells names none. Choose from GAP, +ISL, +FSL, +both.",
    "--config.trian.epochs=3": "no field config.trian.epochs (did you mean 'train'?)",
    "--sedes=3": "Unknown option --sedes (did you mean 'seeds'?); see --help.",
    "--config.refine.random_walk.beta=16": "config.refine.random_walk.beta = 16 has no effect: it "
    "is read only with config.refine.name = 'random_walk'. Set that too, or leave the field at",
    "--config.seed=3": "config.seed = 3 has no effect: every cell is run with the seeds 0, 1, ...",
    "--config.hfpl.isl_weight=0": "config.hfpl.isl_weight = 0 leaves the cell +ISL without that",
    "--config.train.batch_size=3": "config.train.batch_size = 3 does not divide into 8 devices.",
    "--until=trian": "--until=trian: value should be one of <metrics|crf|affinity|refinement|",
    "--methods=cam": "--methods stands for recipes of configs/, so --config has no place beside",
    "--switches=small": "--switches=small has no effect without --methods. Write --config=RECIPE:",
    "--seeds=0": "--seeds=0: 0 is not a positive integer. Correct that option; see --help.",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told(slip, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablation.console, "set_up", lambda: None)
    recipe = ROOT / "configs" / "quickstart.py"
    with pytest.raises(SystemExit) as ended:
        ablation.main([f"--config={recipe}", f"--workdir={tmp_path}", slip])
    assert ended.value.code == 2
    assert SLIPS[slip] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_field_is_refused_where_no_cell_reads_it():
    recipe = load_recipe(str(ROOT / "configs" / "quickstart.py"))
    typed = recipe.copy_and_resolve_references()
    typed.train.batch_size = recipe.train.batch_size = 16  # for the eight devices of the tests
    typed.hfpl.num_samples = 5

    def check(*names):
        both = cells.Recipe("", recipe, typed)
        cells.check_cells([both], names, ["data", "train", "cams", "metrics"])

    check(*cells.CELLS)
    check("GAP", "+ISL")
    with pytest.raises(
        InputError,
        match=r"config\.hfpl\.num_samples = 5 has no effect: .* config\.hfpl\.isl_weight above 0",
    ):
        check("GAP", "+FSL")
    typed.hfpl.num_samples, typed.hfpl.fsl_weight = recipe.hfpl.num_samples, 0.5
    check("GAP", "+FSL")
    told = (
        r"config\.hfpl\.fsl_weight = 0\.5 has no effect: of the cells GAP, \+ISL none has that loss"
    )
    with pytest.raises(InputError, match=told):
        check("GAP", "+ISL")


def test_what_all_cells_share_is_in_the_time_of_none(tmp_path, monkeypatch):
    config = load_recipe(str(ROOT / "configs" / "frozen.py"))
    run = SimpleNamespace(notices=())
    monkeypatch.setattr(cells.pipeline, "run", lambda *_: run)
    monkeypatch.setattr(cells.pipeline, "read_manifest", lambda folder: {"seconds": 2.0})
    monkeypatch.setattr(cells, "read_metrics", lambda folder: {"threshold": 0.3})
    made = cells.run_cell(config, tmp_path, ["data", "features", "train", "cams", "metrics"])
    assert made["seconds"] == {"train": 2.0, "cams": 2.0, "metrics": 2.0}


def test_cells_share_data_features_and_programs(tmp_path):
    recipe = load_recipe(str(ROOT / "configs" / "frozen.py"))
    both = cells.Recipe("", recipe, recipe)
    for cell in cells.CELLS:
        config = both.config(cell, 1, tmp_path)
        assert config.data.directory == str(tmp_path / "data")
        assert config.run.features == str(tmp_path / "features")
        assert config.run.compilation_cache == str(tmp_path / "compilation_cache")
    recipe.run.features = "/large/disk"
    assert both.config("GAP", 0, tmp_path).run.features == "/large/disk"


def test_help(capsys, monkeypatch):
    monkeypatch.setattr(ablation.console, "set_up", lambda: None)
    ablation.main(["--help"])
    out = capsys.readouterr().out
    assert out.startswith("python -m experiments.ablation --config=RECIPE[:SWITCHES] --workdir=")
    assert "  --cells\n      Which of GAP, +ISL, +FSL, +both.\n" in out
    assert "--config.hfpl.isl_weight=0.2\n" in out
