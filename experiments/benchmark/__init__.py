"""How fast: see `python -m experiments.benchmark --help`."""
