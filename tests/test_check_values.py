import pytest

from hfpl_jax.check_values import check_values
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "inference.image_labels",
            "predict",
            r"config\.inference\.image_labels = 'predict' is not known \(did you mean 'predicted'\?\)",
        ),
        ("inference.checkpoint", "newest", r"Choose one of last, best\."),
        ("export.format", "tfrecords", r"did you mean 'tfrecord'\?"),
        ("train.epochs", 0, r"config\.train\.epochs = 0 must be at least 1\."),
        ("train.batch_size", -8, r"config\.train\.batch_size = -8 must be"),
        ("run.shard_size", 0, r"config\.run\.shard_size = 0 must be"),
        ("run.log_every", 0, r"config\.run\.log_every = 0 must be"),
        ("inference.scales", (), r"config\.inference\.scales = \(\) must hold"),
        ("inference.scales", (1.0, 0.0), r"must hold at least one scale, all above 0"),
        ("refine.method", "randomwalk", r"did you mean 'random_walk'\?"),
        ("refine.crf_algorithm", "fast", r"Choose one of lattice, exact\."),
        ("refine.crf_sxy", 0.0, r"config\.refine\.crf_sxy = 0\.0 must be above 0"),
        (
            "refine.walk_alpha",
            -6.0,
            r"config\.refine\.walk_alpha = -6\.0 must be above 0, or 0 for",
        ),
        ("refine.crf_weight", -1.0, r"config\.refine\.crf_weight = -1\.0 must be at least 0"),
        ("segmentation.head", "deeplab", r"did you mean 'deeplab_v\d'\?"),
        ("segmentation.epochs", 1, r'Set config\.export\.format to "array_record"'),
        ("affinity.alphas", (1.0,), r"must be two exponents"),
        ("labels.ignore_band", (0.3,), r"is neither empty nor \(low, high\)"),
        ("segmentation.crf_srgb", 0.0, r"config\.segmentation\.crf_srgb = 0\.0 must be above 0"),
    ],
)
def test_values_no_stage_can_work_with(field, value, message):
    config = default_config()
    check_values(config)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message):
        check_values(config)


@pytest.mark.parametrize("method", ["crf", "random_walk"])
def test_an_ignore_band_belongs_to_the_threshold_alone(method):
    config = default_config()
    config.labels.ignore_band = (0.2, 0.4)
    check_values(config)
    config.refine.method = method
    with pytest.raises(
        InputError,
        match=rf"ignore_band = \(0\.2, 0\.4\) is a range of CAM scores, but with "
        rf'config\.refine\.method = "{method}".*Set one of the two to its empty value',
    ):
        check_values(config)
