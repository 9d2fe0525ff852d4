"""1- and 5-shot accuracy of several networks, on photographs of VOC that show one class
alone.

    python -m experiments.few_shot --root=VOCdevkit --json=experiments/results/few_shot.json \
        --network="ImageNet: --weights=resnet50.safetensors" \
        --network="pretrained: --run=runs/voc/pretrain --long_side=96"

What stands behind a name are options of `python -m hfpl_jax.few_shot accuracy`. The
labels are those of VOC2012/Annotations: an object that is marked as difficult is one.
"""

import argparse
import hashlib
import json
import pathlib
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from experiments.results import facts
from hfpl_jax.errors import InputError
from hfpl_jax.few_shot.__main__ import SHOTS, all_options, measure, parse
from hfpl_jax.runtime import atomic, console
from hfpl_jax.runtime.provenance import made_by


def label_rows(voc: pathlib.Path) -> str:
    """A label file of the photographs in VOC2012 that are annotated."""
    rows = ["file_name,labels"]
    for path in sorted((voc / "Annotations").glob("*.xml")):
        objects = ElementTree.parse(path).iter("object")
        names = sorted({str(each.findtext("name")) for each in objects})
        if names and (voc / "JPEGImages" / f"{path.stem}.jpg").exists():
            rows.append(f"{path.stem}.jpg,{';'.join(names)}")
    return "\n".join(rows) + "\n"


def one_network(folder: pathlib.Path, labels: pathlib.Path, arguments: str) -> dict:
    """The figures and seconds of a network."""
    options = all_options()
    given = [f"--photographs={folder}", f"--labels={labels}", *shlex.split(arguments)]
    parse(["accuracy", *given], options)
    started = time.monotonic()
    found = measure(options)
    figures = {"photographs": found["photographs"], "ways": found["ways"]}
    for shots, accuracy in found["accuracy"].items():
        figures |= {f"{shots}-shot {name}": value for name, value in accuracy.items()}
    return {"figures": figures, "seconds": {"all": round(time.monotonic() - started, 1)}}


def table(studies: Sequence[Mapping]) -> str:
    """A row a network: accuracies with their 95 % intervals, in percent."""
    shown = [f"{shots}-shot" for shots in SHOTS]
    lines = [f"| network | {' | '.join(shown)} |", "|---" * (1 + len(shown)) + "|"]
    for study in studies:
        for network, by_seed in study["runs"].items():
            for run in by_seed.values():
                of = run["figures"]
                cells = (
                    f"{100 * of[f'{shots} mean']:.1f} ± {100 * of[f'{shots} interval']:.1f}"
                    for shots in shown
                )
                lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.few_shot")
    parser.add_argument("--root", type=pathlib.Path, required=True, help="that holds VOC2012")
    parser.add_argument("--network", action="append", required=True, help="NAME: OPTIONS")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="of the results")
    asked = parser.parse_args(arguments)
    console.set_up()
    voc, runs = asked.root / "VOC2012", {}
    text = label_rows(voc)
    with tempfile.TemporaryDirectory() as folder:
        labels = pathlib.Path(folder) / "labels.csv"
        labels.write_text(text)
        for network in asked.network:
            name, _, options = network.partition(":")
            try:
                runs[name] = {"0": one_network(voc / "JPEGImages", labels, options)}
            except InputError as error:
                sys.exit(f"few_shot: {name}: {error}")
    study = {
        **facts("python -m hfpl_jax.few_shot accuracy", [], [{"made_by": made_by()}]),
        "config_hash": hashlib.sha256(text.encode()).hexdigest()[:16],  # of what is asked
        "runs": runs,
    }
    atomic.atomic_write(asked.json, json.dumps(study, indent=1) + "\n")
    print(table([study]))


if __name__ == "__main__":
    main(sys.argv[1:])
