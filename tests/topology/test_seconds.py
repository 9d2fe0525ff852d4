"""Seconds that are computed, against sums by hand."""

import pytest

from hfpl_jax.topology.hlo import Collective, Moved
from hfpl_jax.topology.pods import Pod
from hfpl_jax.topology.seconds import collectives_said, computed
from hfpl_jax.topology.work import Work

POD = Pod("v5e-4", "v5e", "2x2")
QUIET = Moved(0, ())


@pytest.mark.parametrize(
    ("work", "traffic", "seconds", "limit"),
    [
        # 40% of 197 TFLOP/s on each of four devices
        (Work(0.0, 4 * 0.4 * 197e12, 0.0), QUIET, 1.0, "matrix units"),
        (Work(0.0, 0.0, 4 * 0.4 * 197e12 / 32), QUIET, 1.0, "vector units"),
        (Work(0.0, 1.0, 1.0), Moved(int(0.8 * 819e9), ()), 1.0, "memory"),
        # Three quarters of a result, sent and received twice, in a ring of four
        (
            Work(0.0, 1.0, 1.0),
            Moved(0, (Collective("all-reduce", int(0.8 * 400e9) // 3, 1, ""),)),
            1.0,
            "links",
        ),
        (
            Work(0.0, 1.0, 1.0),
            Moved(0, (Collective("all-gather", int(0.8 * 400e9) // 3, 2, ""),)),
            1.0,
            "links",
        ),
    ],
)
def test_what_limits_a_program(work, traffic, seconds, limit):
    found, said = computed(work, traffic, 4, POD)
    assert found == pytest.approx(seconds, rel=1e-6)
    assert said == f"limited by {limit}"


def test_messages_are_added_up_by_kind():
    messages = (
        Collective("all-reduce", 2_000_000, 1, "a"),
        Collective("all-reduce", 500_000, 2, "b"),
        Collective("all-gather", 1_000_000, 1, "c"),
    )
    assert collectives_said(Moved(0, messages)) == (
        "collectives: 3 all-reduce of 3.00 MB, the largest of 2.00 MB; 1 all-gather of 1.00 MB, "
        "the largest of 1.00 MB"
    )
    assert collectives_said(QUIET) == "no collectives"
