import math

import jax
import numpy as np
import pytest

from hfpl_jax.training.schedule import SCHEDULES, Cosine, Poly, Stairs, Step


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_poly():
    schedule = Poly(power=0.9).of_steps(0.5, 4)
    expected = [0.5 * (1 - min(step, 4) / 4) ** 0.9 for step in range(6)]
    assert values(schedule, range(6)) == pytest.approx(expected, rel=1e-6)


def test_cosine_after_a_linear_warm_up():
    """Of 100 steps 20 rise from 0.1 to the whole of 2.0; the other 80 fall to a tenth:
    first step, middle of the warm-up, its end, middle of the fall, last step, after it.
    """
    schedule = Cosine(warm_up=0.2, start=0.05, end=0.1).of_steps(2.0, 100)
    last = 0.2 + 0.9 * (1 + math.cos(math.pi * 79 / 80))
    expected = [0.1, 1.05, 2.0, 1.1, last, 0.2, 0.2]
    found = values(schedule, [0, 10, 20, 60, 99, 100, 150])
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("warm_up", "steps"), [(0.0, 1), (0.0, 7), (0.3, 10), (0.99, 3)])
def test_every_step_of_a_cosine_equals_float64(warm_up, steps):
    """Also where there is no warm-up, where hardly anything else is, and of one step."""
    start, end, rate = 0.25, 0.125, 0.4
    rising = min(round(warm_up * steps), steps - 1)
    expected = [
        rate * (start + (1 - start) * step / rising)
        if step < rising
        else rate
        * (end + (1 - end) / 2 * (1 + math.cos(math.pi * (step - rising) / (steps - rising))))
        for step in range(steps)
    ]
    schedule = Cosine(warm_up=warm_up, start=start, end=end).of_steps(rate, steps)
    found = [float(rate) for rate in jax.vmap(schedule)(np.arange(steps))]
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected[rising] == pytest.approx(rate)  # the peak is reached


def test_steps():
    """Of 15 epochs of 10 steps, as DRS has them: 4, 5 and 6 of each rate."""
    schedule = Step().of_steps(0.2, 150)
    found = values(schedule, [0, 39, 40, 89, 90, 149])
    assert found == pytest.approx([0.2, 0.2, 0.02, 0.02, 0.002, 0.002], rel=1e-6)
    one = Step(shares=(0.5,), factor=0.5).of_steps(1.0, 3)
    assert values(one, range(3)) == [1.0, 1.0, 0.5]


def test_stairs_are_those_of_mctformer():
    """60 epochs of 3 steps at a batch of 64: the first two at 1e-6, the peak in the sixth
    and seventh at 6.16e-5, the last at 1.01e-5.
    """
    schedule = Stairs(start=1e-6 / 6.25e-5, end=1e-5 / 6.25e-5).of_steps(6.25e-5, 180)
    by_epoch = [1e6 * value for value in values(schedule, range(0, 180, 3))]
    assert by_epoch[:3] == pytest.approx([1.0, 1.0, 1.0 + 61.5 / 5], rel=1e-5)
    assert max(by_epoch) == by_epoch[6] == pytest.approx(61.606, abs=1e-2)
    assert by_epoch[-1] == pytest.approx(10.144, abs=1e-2)
    assert values(schedule, [7, 8]) == values(schedule, [6, 6])  # within a stair


def test_their_names():
    assert {"poly": Poly, "cosine": Cosine, "step": Step, "stairs": Stairs} == SCHEDULES
