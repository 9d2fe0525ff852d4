import pytest

from hfpl_jax.stages.notices import background_notices, notices_of, threshold_notices


@pytest.mark.parametrize("threshold", [0.01, 0.25, 0.98])
@pytest.mark.parametrize("given", [True, False])
def test_a_threshold_in_between_needs_no_notice(threshold, given):
    assert threshold_notices(threshold, given=given) == []


def test_a_threshold_at_an_end_is_told_with_the_cure():
    (low,) = threshold_notices(0.0, given=False)
    assert low.startswith("The background threshold is 0.00, the lowest there is: every pixel ")
    assert "train anew with another --config.seed" in low
    (high,) = threshold_notices(0.99, given=False)
    assert high.startswith("The background threshold is 0.99, the highest that is tried: nearly ")
    (given,) = threshold_notices(0.0, given=True)
    assert given.endswith("Set --config.labels.threshold=train, or a number between, such as 0.25.")
    assert threshold_notices(0.995, given=True)


def metrics(kind, **roles):
    """Role -> (mIoU, that of background everywhere)."""
    return {
        f"{role}/{kind}/{name}": value
        for role, values in roles.items()
        for name, value in zip(("miou", "miou_all_background"), values, strict=True)
    }


def test_masks_that_beat_background_need_no_notice():
    assert background_notices(metrics("cam", train=(0.2, 0.19), val=(0.5, 0.1)), "cam") == []
    assert background_notices({}, "cam") == []
    assert background_notices(metrics("crf", train=(0.1, 0.2)), "cam") == []


def test_masks_no_better_than_background_are_told_with_the_split():
    (val,) = background_notices(metrics("cam", train=(0.3, 0.2), val=(0.207, 0.215)), "cam")
    assert val.startswith(
        "The mIoU of the CAMs is 20.7 % on val, not above 21.5 %, which masks of background alone "
        "would have: they are worth nothing. Look at the pictures"
    )
    (both,) = background_notices(
        metrics("segmentation", train=(0.1, 0.1), val=(0.0, 0.2)), "segmentation"
    )
    assert "final network is 10.0 % on train, not above 10.0 % and 0.0 % on val, not " in both
    assert both.endswith("--config.segmentation.learning_rate.")


def test_notices_of_a_manifest():
    assert notices_of({"facts": {"notices": ["One.", "Two."]}}) == ("One.", "Two.")
    assert notices_of({"facts": {"steps": 3}}) == notices_of({"done": False}) == ()
