"""What the few-shot experiment reads and writes."""

from experiments.few_shot import label_rows, table


def test_labels_are_those_of_the_annotated_photographs(tmp_path):
    shown = {"1": ("dog", "cat", "dog"), "2": ("cat",), "3": ("cow",), "4": ()}
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    for name, objects in shown.items():
        found = "".join(f"<object><name>{each}</name></object>" for each in objects)
        (tmp_path / "Annotations" / f"{name}.xml").write_text(f"<annotation>{found}</annotation>")
        if name != "3":
            (tmp_path / "JPEGImages" / f"{name}.jpg").touch()
    assert label_rows(tmp_path) == "file_name,labels\n1.jpg,cat;dog\n2.jpg,cat\n"


def test_a_network_is_a_row_with_its_intervals():
    figures = {
        "1-shot mean": 0.4146,
        "1-shot interval": 0.0056,
        "5-shot mean": 0.6856,
        "5-shot interval": 0.0038,
    }
    study = {"runs": {"ImageNet": {"0": {"figures": figures, "seconds": {}}}}}
    assert table([study]).splitlines() == [
        "| network | 1-shot | 5-shot |",
        "|---|---|---|",
        "| ImageNet | 41.5 ± 0.6 | 68.6 ± 0.4 |",
    ]
