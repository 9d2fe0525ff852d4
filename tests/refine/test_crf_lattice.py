import pathlib

import crf_oracle as oracle
import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings
from hfpl_jax.refine.crf_lattice import lattice_mean_field
from hfpl_jax.refine.permutohedral import MATRIX_FROM, PermutohedralLattice, _numbered

GOLDENS = pathlib.Path(__file__).parent.parent / "goldens"


@pytest.mark.parametrize("alpha", ["alpha1", "alpha24"])
def test_published_program(alpha):
    with np.load(GOLDENS / "crf.npz") as golden:
        image, probabilities, expected = (
            golden["image"],
            *(golden[f"{name}_{alpha}"].transpose(1, 2, 0) for name in ("score", "crf")),
        )
    marginals = lattice_mean_field(image, probabilities, settings=PUBLISHED_CRF)
    assert marginals.dtype == np.float32
    assert np.mean(marginals.argmax(-1) == expected.argmax(-1)) == 1.0
    np.testing.assert_allclose(
        marginals, expected, atol=1e-4
    )  # the same lattice, so digits agree and not labels alone


@pytest.mark.parametrize("shape", [(31, 47, 2), (20, 1, 3), (1, 25, 3), (40, 30, 21)])
@pytest.mark.parametrize(
    "settings",
    [
        PUBLISHED_CRF,
        oracle.PUBLISHED_FINAL_CRF,
        CrfSettings(),
        CrfSettings(3, 1.5, 4.0, 20.0, 5.0, 2.0),
    ],
    ids=["published", "published, final network", "default", "other"],
)
def test_pydensecrf(shape, settings):
    densecrf = pytest.importorskip("pydensecrf.densecrf")
    from pydensecrf.utils import unary_from_softmax

    image, probabilities = oracle.example(*shape)
    model = densecrf.DenseCRF2D(shape[1], shape[0], shape[2])
    model.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities.transpose(2, 0, 1))))
    model.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_weight)
    model.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=settings.bilateral_weight,
    )
    expected = np.array(model.inference(settings.iterations)).T.reshape(shape)
    np.testing.assert_allclose(
        lattice_mean_field(image, probabilities, settings=settings), expected, atol=1e-4
    )


@pytest.mark.parametrize(
    "settings",
    [PUBLISHED_CRF, oracle.PUBLISHED_FINAL_CRF],
    ids=["published", "final network"],
)
def test_close_to_exact_kernels(settings):
    image, probabilities = oracle.example(30, 36, 3)
    marginals = lattice_mean_field(image, probabilities, settings=settings)
    expected = oracle.dense_crf(image, probabilities, settings)
    assert np.abs(marginals - expected).mean() < 0.02
    assert np.mean(marginals.argmax(-1) == expected.argmax(-1)) > 0.98
    assert (
        np.abs(probabilities - expected).mean() > 0.1
    )  # the refinement changes far more than that


@pytest.mark.parametrize(("d", "tolerance"), [(1, 0.03), (2, 0.03), (5, 0.06)])
def test_filter_approximates_the_gaussian(d, tolerance):
    rng = np.random.default_rng(d)
    features = rng.uniform(0, 4, (1500, d)).astype(np.float32)
    values = np.stack([np.ones(1500), features[:, 0] > 2]).astype(np.float32)
    expected = values @ oracle.gaussian(features.astype(np.float64))
    error = np.linalg.norm(
        PermutohedralLattice(features).filter(values) - expected, axis=1
    ) / np.linalg.norm(expected, axis=1)
    assert (error < tolerance).all(), error


def test_many_values_are_filtered_as_each_alone():
    rng = np.random.default_rng(0)
    lattice = PermutohedralLattice(rng.uniform(-3, 3, (200, 5)).astype(np.float32))
    values = rng.normal(size=(MATRIX_FROM, 200)).astype(np.float32)
    alone = np.concatenate([lattice.filter(each[None]) for each in values])
    np.testing.assert_allclose(lattice.filter(values), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cells", [10**6, 2**61])
def test_codes_are_numbered_in_their_order(cells):
    """However many cells there are: places fit beside small codes only."""
    codes = np.random.default_rng(0).integers(0, cells, 50)[
        np.random.default_rng(1).integers(0, 50, (40, 6))
    ]
    vertices, index = _numbered(codes, cells)
    expected, inverse = np.unique(codes, return_inverse=True)
    np.testing.assert_array_equal(vertices, expected)
    np.testing.assert_array_equal(index, inverse.reshape(codes.shape))


def test_filter_does_not_depend_on_the_order_of_the_points():
    rng = np.random.default_rng(0)
    features, values = (
        rng.uniform(-3, 3, (200, 5)).astype(np.float32),
        rng.random((2, 200)).astype(np.float32),
    )
    order = rng.permutation(200)
    np.testing.assert_allclose(
        PermutohedralLattice(features[order]).filter(values[:, order]),
        PermutohedralLattice(features).filter(values)[:, order],
        rtol=1e-5,
    )


EDGE_CASES = {
    "one pixel": (np.zeros((1, 1, 3)), np.array([[[0.0, 1.0]]])),
    "flat image": (np.full((5, 6, 3), 90), oracle.example(5, 6, 3)[1]),
    "certain scores": (oracle.example(5, 6, 3)[0], np.eye(3)[np.indices((5, 6)).sum(0) % 3]),
    "no scores": (oracle.example(5, 6, 3)[0], np.zeros((5, 6, 3))),
}


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name):
    image, probabilities = (
        EDGE_CASES[name][0].astype(np.uint8),
        EDGE_CASES[name][1].astype(np.float32),
    )
    marginals = lattice_mean_field(image, probabilities, settings=PUBLISHED_CRF)
    np.testing.assert_allclose(marginals.sum(-1), 1.0, atol=1e-6)
    np.testing.assert_allclose(marginals, oracle.dense_crf(image, probabilities), atol=0.05)


def test_inputs_are_not_changed_and_calls_do_not_influence_each_other():
    image, probabilities = oracle.example(11, 13, 3)
    copies = image.copy(), probabilities.copy()
    first = lattice_mean_field(image, probabilities, settings=PUBLISHED_CRF)
    lattice_mean_field(*oracle.example(11, 13, 3, seed=1), settings=CrfSettings(gaussian_sxy=1.0))
    np.testing.assert_array_equal(
        lattice_mean_field(image, probabilities, settings=PUBLISHED_CRF), first
    )
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(probabilities, copies[1])


def test_too_narrow_a_kernel_is_told():
    image, probabilities = oracle.example(11, 13, 2)
    with pytest.raises(InputError, match=r"Raise the kernel's sxy .* or srgb"):
        lattice_mean_field(
            image, probabilities, settings=CrfSettings(bilateral_sxy=1e-3, bilateral_srgb=1e-3)
        )
