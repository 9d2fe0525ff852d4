"""What sentences say of a slip of the pen."""

from hfpl_jax.errors import did_you_mean, in_brackets


def test_nothing_alike_is_not_suggested():
    assert did_you_mean("zzz", ["crf", "random_walk"]) == ""
    assert did_you_mean("SEAM", ["cam", "seam"]) == "did you mean 'seam'?"
    assert did_you_mean("écru", ["Écrou", "bolt"]) == "did you mean 'Écrou'?"
    assert did_you_mean("c" * 10**6, ["crf"]) == ""


def test_a_hint_stands_in_brackets_where_there_is_one():
    assert in_brackets("did you mean 'crf'?") == " (did you mean 'crf'?)"
    assert in_brackets("") == ""
