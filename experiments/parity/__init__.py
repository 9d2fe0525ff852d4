"""The published programs' numbers: see `python -m experiments.parity --help`."""
