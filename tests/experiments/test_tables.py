"""The pages hold what the results give."""

import json

import pytest
from end_to_end import ROOT

from experiments import tables
from experiments.results import FACTS
from hfpl_jax.errors import InputError


def test_the_pages_of_this_checkout_are_what_their_studies_give():
    assert not tables.stale(tables.ROOT)
    assert tables.ROOT == ROOT


def study(train, val, **facts):
    def run(at):
        return {
            "figures": {
                "threshold": 0.25,
                "train/cam/miou": train[at],
                "val/cam/miou": val[at],
                "val/cam/contour_f_present": 0.125,
            },
            "seconds": {"train": 60.0},
        }

    made = dict.fromkeys(FACTS, "not recorded") | facts
    return {**made, "runs": {"GAP": {"0": run(0), "1": run(1)}, "+both": {"0": run(1)}}}


@pytest.fixture
def root(tmp_path):
    """A checkout with one study and an empty page."""
    (tmp_path / "experiments" / "results").mkdir(parents=True)
    (tmp_path / "experiments" / "notes").mkdir()
    (tmp_path / "README.md").write_text("no table\n")
    content = study([0.3, 0.34], [0.2, 0.2], config="configs/a.py", commit="abc")
    (tmp_path / "experiments" / "results" / "a.json").write_text(json.dumps(content))
    return tmp_path


PAGE = "before\n<!-- table {} -->\n{}<!-- end of table -->\nafter\n"


def written(root, marker, old="old\n"):
    page = root / "experiments" / "notes" / "a.md"
    page.write_text(PAGE.format(marker, old))
    pages = tables.stale(root)
    if not pages:
        return page.read_text()
    assert list(pages) == [page]
    return pages[page]


OVERVIEW = """\
| recipe | losses | train mIoU | val mIoU | val contour F |
|---|---|---|---|---|
| `configs/a.py`, seeds 0, 1 | GAP | 32.0 ± 2.8 | 20.0 ± 0.0 | 12.5 ± 0.0 |
|  | +both | 34.0 | 20.0 | 12.5 |

[a.json](../results/a.json): recipe `configs/a.py`, config hash not recorded; commit
abc; not recorded; not recorded.
"""


def test_a_table_and_its_facts_are_written_between_the_lines(root):
    text = written(root, "overview: a")
    assert text == PAGE.format("overview: a", OVERVIEW)
    assert written(root, "overview: a", OVERVIEW) == text  # nothing is stale


def test_several_studies_and_several_tables(root):
    other = study([0.5, 0.5], [0.4, 0.4], config="configs/b.py")
    del other["runs"]["+both"]
    del other["runs"]["GAP"]["1"]["figures"]["val/cam/miou"]
    (root / "experiments" / "results" / "b.json").write_text(json.dumps(other))
    page = root / "README.md"
    page.write_text(PAGE.format("overview: a, b", "") + PAGE.format("losses: b", ""))
    lines = tables.stale(root)[page].splitlines()
    assert "| `configs/b.py`, seeds 0, 1 | GAP | 50.0 ± 0.0 | 40.0 | 12.5 ± 0.0 |" in lines
    assert sum(line.startswith("[b.json](experiments/results/b.json)") for line in lines) == 2
    assert [line for line in lines if line.startswith("| GAP | cam | 50.0 ± 0.0 |")]


MEASURED = {
    "made_by": {
        "commit": "abc",
        "machine": "2 cores of X, Python 3.11.7",
        "devices": "1 x cpu",
        "jax": "0.10.2",
        "date": "2026-11-27",
    },
    "machine": {"flops_per_s": 4.4e11, "bytes_per_s": 9.8e9},
    "pieces": {
        "walk": {
            "ours_s": 0.0212,
            "reference_s": 2.9,
            "reference": "torch",
            "speedup": 136.8,
            "peak_mb": 12.3,
            "reference_peak_mb": 426.0,
            "share_of_matmul": 0.03,
            "share_of_copy": 0.00312 / 0.0212,
        }
    },
}
PIECES = """\
| piece | ours | reference | speedup | at the machine's rates | MB | reference's MB |
|---|---|---|---|---|---|---|
| walk | 21.2 ms | 2900 ms (torch) | 136.80 | 3.12 ms | 12 | 426 |

[speed/b.json](../results/speed/b.json): commit abc; 2 cores of X, Python 3.11.7, 1 x
cpu, JAX 0.10.2; matrix product 440 GFLOP/s, copy 9.8 GB/s; 2026-11-27.
"""


def test_a_run_of_the_benchmark(root):
    folder = root / "experiments" / "results" / "speed"
    folder.mkdir()
    (folder / "b.json").write_text(json.dumps(MEASURED))
    assert written(root, "pieces: speed/b") == PAGE.format("pieces: speed/b", PIECES)
    with pytest.raises(InputError, match=r"a\.json lacks made_by, pieces"):
        written(root, "pieces: a")


BAD = {
    "an unknown layout": (
        PAGE.format("heights: a", ""),
        "layout heights. Known are losses, differences, instances, intervals, variants, ways",
    ),
    "the layout of another experiment": (
        PAGE.format("ways: a", ""),
        "the runs of a have no 'train/cam/contour_f_present', which the layout ways shows",
    ),
    "an unknown study": (PAGE.format("losses: c", ""), "c.json is not readable"),
    "a misspelt line": (PAGE.format("losses a", ""), "1 tables that begin, and 0 that are whole"),
    "a table without its end": (
        "<!-- table losses: a -->\n" + PAGE.format("losses: a", ""),
        "2 tables that begin, and 1 that are whole",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_page_that_is_not_understood_is_told(name, root):
    text, message = BAD[name]
    (root / "README.md").write_text(text)
    with pytest.raises(InputError, match=message):
        tables.stale(root)


def test_the_command_checks_and_writes(root, capsys, monkeypatch):
    monkeypatch.setattr(tables, "ROOT", root)
    page = root / "README.md"
    page.write_text(PAGE.format("overview: a", ""))
    with pytest.raises(SystemExit, match=r"run `python -m experiments.tables`"):
        tables.main(["--check"])
    assert page.read_text() == PAGE.format("overview: a", "")
    assert capsys.readouterr().err == "README.md is not what its studies give.\n"
    tables.main([])
    whole = PAGE.format("overview: a", OVERVIEW.replace("..", "experiments"))
    assert page.read_text().split() == whole.split()  # the longer link wraps elsewhere
    tables.main(["--check"])
    page.write_text(PAGE.format("overview: c", ""))
    with pytest.raises(SystemExit, match=r"tables: .*c\.json is not readable"):
        tables.main(["--check"])
