"""`python -m hfpl_jax` as it is typed: what a slip of the user prints, and the exit status."""

import pytest
from end_to_end import command, finished

RUN = (
    "--config=configs/quickstart.py:debug",
    "--workdir=WORKDIR",
    "--config.data.options.train_size=2",
)
SLIPS = {
    "a field": ((*RUN, "--config.train.epoch=3"), 1, 'Did you mean "epochs"'),
    "a value": (
        (*RUN, "--config.data.name=scene"),
        2,
        "\nhfpl_jax: config.data.name is 'scene' (did you mean 'scenes'?)",
    ),
    "a batch": (
        (*RUN, "--config.train.batch_size=12"),
        2,
        "\nhfpl_jax: config.train.batch_size = 12 does not divide into 8 devices. Set it to a "
        "multiple of 8, such as 8 or 16.\n",
    ),
    "a field that nothing reads": (
        (*RUN, "--config.refine.walk_beta=3"),
        2,
        "\nhfpl_jax: config.refine.walk_beta = 3 has no effect: it is read only with "
        "config.refine.method = 'random_walk'.",
    ),
    "a word": ((*RUN, "extra"), 1, "Unknown argument 'extra'. Options start with two dashes."),
    "no workdir": (
        RUN[:1],
        1,
        "flag --workdir=None: Flag --workdir must have a value other than None.",
    ),
    "a switch": (
        ("--config=configs/quickstart.py:bg=1", *RUN[1:]),
        1,
        "Unknown switch 'bg=1' after the config file. Known are isl=WEIGHT",
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """All of them at once: most of the time is Python's imports."""
    workdir = str(tmp_path_factory.mktemp("command"))
    started = {
        slip: command(*(option.replace("WORKDIR", workdir) for option in options))
        for slip, (options, _, _) in SLIPS.items()
    }
    return {slip: finished(process) for slip, process in started.items()}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told(answers, slip):
    _, expected, message = SLIPS[slip]
    status, out, err = answers[slip]
    assert message in out + err
    assert status == expected
    if expected == 2:
        assert "Traceback" not in out + err
        assert not out
