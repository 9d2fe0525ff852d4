import pathlib

import numpy as np
import pytest

from hfpl_jax.methods.merge import merge_cams, normalize_cams, upsample

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"


def test_published_program():
    """Four scales, each with its mirrored image; the background's map lies in front of
    those of the classes, of which two are in the image.
    """
    golden = np.load(GOLDENS / "cam_merge.npz")
    maps = 1 + np.flatnonzero(golden["labels"])
    raw = [golden[f"raw_{i}"][0, maps].astype(np.float32).transpose(1, 2, 0) for i in range(8)]
    summed = [raw[i] + raw[i + 1][:, ::-1] for i in range(0, 8, 2)]
    height, width = golden["size"].tolist()
    scaled_sizes = [(round(height * scale), round(width * scale)) for scale in (0.5, 1.0, 1.5, 2.0)]
    cams = merge_cams(summed, scaled_sizes, (height, width))
    np.testing.assert_allclose(cams, golden["norm_cam"].transpose(1, 2, 0), atol=1e-5)


def naive_upsample(maps, scaled_size, size):
    """In float64, first to the scaled image with aligned corners, then to the
    photograph without."""

    def one_axis(values, target, align_corners):
        source = len(values)
        result = np.zeros((target, *values.shape[1:]))
        for i in range(target):
            if align_corners:
                coordinate = i * (source - 1) / (target - 1) if target > 1 else 0.0
            else:
                coordinate = max(0.0, (i + 0.5) * source / target - 0.5)
            first = min(int(coordinate), source - 1)
            share = coordinate - first
            result[i] = (1 - share) * values[first] + share * values[min(first + 1, source - 1)]
        return result

    for target, align_corners in ((scaled_size, True), (size, False)):
        maps = one_axis(maps.astype(np.float64), target[0], align_corners)
        maps = one_axis(maps.swapaxes(0, 1), target[1], align_corners).swapaxes(0, 1)
    return maps


@pytest.mark.parametrize(
    ("source", "scaled", "size"),
    [
        ((7, 9), (50, 66), (50, 66)),
        ((4, 5), (25, 33), (50, 66)),
        ((9, 3), (70, 21), (33, 10)),
        ((1, 2), (5, 9), (20, 36)),
    ],
)
def test_upsample_oracle(source, scaled, size):
    maps = np.random.default_rng(0).normal(size=(*source, 3)).astype(np.float32)
    raised = upsample(maps, scaled, size)
    assert raised.dtype == np.float32
    np.testing.assert_allclose(raised, naive_upsample(maps, scaled, size), atol=1e-5)
    np.testing.assert_allclose(upsample(maps[:, ::-1], scaled, size)[:, ::-1], raised, atol=1e-5)


def test_merge_is_the_normalised_sum():
    rng = np.random.default_rng(0)
    shapes = [((3, 4), (24, 30)), ((6, 8), (48, 60)), ((12, 15), (96, 120))]
    maps = [rng.normal(size=(*source, 2)).astype(np.float32) for source, _ in shapes]
    summed = np.maximum(
        sum(
            naive_upsample(m, scaled, (48, 60)) for m, (_, scaled) in zip(maps, shapes, strict=True)
        ),
        0.0,
    )
    low, high = summed.min((0, 1)), summed.max((0, 1))
    expected = np.clip((summed - low - 1e-5) / (high - low + 1e-5), 0.0, 1.0)
    cams = merge_cams(maps, [scaled for _, scaled in shapes], (48, 60))
    np.testing.assert_allclose(np.clip(cams, 0.0, 1.0), expected, atol=1e-5)


def test_normalize_edge_cases():
    maps = np.zeros((4, 5, 4), np.float32)
    maps[..., 1] = -3.0
    maps[1, 2, 2] = 2.0
    maps[..., 3] = np.linspace(1.0, 3.0, 20).reshape(4, 5)
    cams = normalize_cams(maps)
    assert (cams[..., :2] == -1.0).all()  # no positive evidence
    assert cams[1, 2, 2] == pytest.approx(1.0, abs=2e-5)
    assert (np.delete(cams[..., 2].ravel(), 7) <= 0.0).all()
    np.testing.assert_allclose(cams[..., 3].ravel()[1:], np.linspace(0, 1, 20)[1:], atol=2e-5)
    assert cams[0, 0, 3] <= 0.0  # the minimum is no evidence
    assert normalize_cams(np.zeros((3, 3, 0), np.float32)).shape == (3, 3, 0)
