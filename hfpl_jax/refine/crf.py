"""Fully connected CRF: the scores of an image are drawn to its colour edges.

Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", NIPS 2011, as pydensecrf runs it with NORMALIZE_SYMMETRIC and DIAG_KERNEL,
without pydensecrf.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.refine.background import threshold_background
from hfpl_jax.refine.crf_buckets import padded_mean_field
from hfpl_jax.refine.crf_lattice import lattice_mean_field
from hfpl_jax.refine.crf_settings import CrfSettings
from hfpl_jax.refine.refiner import HostRefiner, Photograph, Refined, most_probable
from hfpl_jax.section import Section, Switch, value_of
from hfpl_jax.setting import above, at_least, one_of, setting
from hfpl_jax.shapes import Float, UInt8

ROUNDING = 1e-4
"""How far outside [0, 1] a probability may be by rounding."""


def _check(image: np.ndarray, probabilities: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"The image of a dense CRF has the shape {image.shape} and the type {image.dtype}: it "
            "must be [h, w, 3] and uint8, the photo's "
            "colours 0 ... 255 and not the normalised network input. Convert a grey or palette "
            "image with Pillow's convert('RGB')."
        )
    if probabilities.ndim not in (3, 4) or probabilities.dtype != np.float32:
        raise InputError(
            f"The probabilities of a dense CRF have the shape {probabilities.shape} and the type "
            f"{probabilities.dtype}: they must be "
            "[h, w, labels] or [maps, h, w, labels], labels last, and float32. Use "
            "astype(numpy.float32)."
        )
    height, width, labels = probabilities.shape[-3:]
    if (height, width) != image.shape[:2]:
        raise InputError(
            f"The probabilities of a dense CRF are {height} x {width}, its image is "
            f"{image.shape[0]} x {image.shape[1]} (height x width): resize the probabilities to "
            "the image."
        )
    if probabilities.size == 0 or labels < 2:
        raise InputError(
            f"The probabilities of a dense CRF have the shape {probabilities.shape}: there must be "
            "pixels and at least two labels, "
            "for instance background and one class."
        )
    # Not-a-number fails both comparisons.
    if not (probabilities.min() >= -ROUNDING and probabilities.max() <= 1.0 + ROUNDING):
        raise InputError(
            f"The probabilities of a dense CRF lie in [{probabilities.min()}, "
            f"{probabilities.max()}]: they must be in [0, 1] and not nan. "
            "Pass softmax probabilities or normalised CAM scores rather than logits, and look for "
            "a diverged network if there is a nan."
        )


def dense_crf(
    image: UInt8[np.ndarray, "h w 3"],
    probabilities: Float[np.ndarray, "*maps h w k"],
    *,
    settings: CrfSettings,
    algorithm: Literal["lattice", "exact"] = "lattice",
) -> Float[np.ndarray, "*maps h w k"]:
    """Marginals of the labels after the mean field of a fully connected CRF with Potts
    compatibility.

      Q_i(l) <- softmax_l(-U_i(l) + sum_m w_m sum_j k^m_ij / sqrt(s^m_i s^m_j) Q_j(l))
      s^m_i = sum_j k^m_ij
      U_i(l) = -log(max(p_i(l), 1e-5)),   Q starts at softmax(-U)
      smoothness:  k_ij = exp(-|p_i - p_j|^2 / (2 gaussian_sxy^2))
      appearance:  k_ij = exp(-|p_i - p_j|^2 / (2 bilateral_sxy^2) - |I_i - I_j|^2 / (2
        bilateral_srgb^2))

    with positions p in pixels, colours I in 0 ... 255, and j = i among the sums, as in
    the reference program.

    Args:
      image: the photo's colours.
      probabilities: float32 scores of each label in [0, 1], at the image's size: one
        map, or several of the same image, which share the work on its colours. They
        need not sum to 1 (alpha-weighted CAMs do not).
      settings: see `CrfSettings`.
      algorithm: "lattice", on the host, linear in the pixels and equal to pydensecrf to
        rounding; "exact", on the default JAX device, quadratic in the pixels and
        compiled once for each of a few buckets of sizes and labels, see
        `crf_buckets.py` (for batches use `exact_mean_field`).

    Returns:
      float32 marginals in [0, 1] that sum to 1 over the labels.

    Raises:
      InputError: the arrays do not fit each other or the description above, the lattice
        cannot hold so narrow a kernel, or the algorithm is unknown.
    """
    # Checked by hand and not by @typed: what a user passes here comes from files, and
    # the message should tell the cure.
    _check(image, probabilities)
    if algorithm == "lattice":
        return lattice_mean_field(image, probabilities, settings=settings)
    if algorithm == "exact":
        maps = probabilities.reshape(-1, *probabilities.shape[-3:])
        marginals = padded_mean_field(image, maps, settings=settings)
        return marginals.reshape(probabilities.shape)
    raise InputError(
        f"The dense CRF's algorithm is '{algorithm}': it must be 'lattice' or 'exact'."
    )


def crf_switches(path: str) -> tuple[Switch, ...]:
    """Of a `CrfSection` with this path."""
    return (
        Switch(
            tuple(f"{path}.{name}" for name in ("algorithm", "sxy", "srgb", "weight")),
            lambda config, _: value_of(config, path).iterations > 0,
            f"config.{path}.iterations above 0",
        ),
        Switch(
            (f"{path}.sxy", f"{path}.srgb"),
            lambda config, _: value_of(config, path).weight > 0,
            f"config.{path}.weight above 0",
        ),
    )


_DEFAULT = CrfSettings()


@dataclasses.dataclass(frozen=True)
class CrfSection(Section):
    """The settings of a CRF in a configuration: what derives from it says where."""

    algorithm: str = setting(
        "lattice", "lattice on the CPU, exact on an accelerator", one_of("lattice", "exact")
    )
    iterations: int = setting(_DEFAULT.iterations, "of the mean field", at_least(1))
    sxy: float = setting(
        _DEFAULT.bilateral_sxy, "pixels that the kernel which follows colours reaches", above(0)
    )
    srgb: float = setting(
        _DEFAULT.bilateral_srgb,
        "grey levels that this kernel distinguishes; with 13 objects whose colours are near those "
        "of their background are lost to it",
        above(0),
    )
    weight: float = setting(
        _DEFAULT.bilateral_weight, "of this kernel against the maps", at_least(0)
    )

    @property
    def settings(self) -> CrfSettings:
        return CrfSettings(
            iterations=self.iterations,
            bilateral_sxy=self.sxy,
            bilateral_srgb=self.srgb,
            bilateral_weight=self.weight,
        )

    def sharpened(self, image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """`dense_crf` with these settings."""
        algorithm = cast(Literal["lattice", "exact"], self.algorithm)
        return dense_crf(image, probabilities, settings=self.settings, algorithm=algorithm)

    def said(self) -> str:
        """In a few words; "no CRF" where it is off."""
        if not self.iterations:
            return "no CRF"
        plural = "s" if self.iterations > 1 else ""
        return (
            f"CRF of {self.iterations} iteration{plural} ({self.sxy:g} pixels, {self.srgb:g} grey "
            f"levels, weight {self.weight:g})"
        )


def of_photograph(
    crf: CrfSection, photograph: Photograph, scores: Sequence[np.ndarray]
) -> np.ndarray:
    """Several maps of scores [h, w, 1 + n] of one photograph, background first, as
    probabilities that were drawn to its colour edges; [maps, h, w, 1 + n].
    """
    maps = np.stack([score / score.sum(axis=-1, keepdims=True) for score in scores])
    if not len(photograph.classes):  # it is background, whatever its colours
        return maps
    return crf.sharpened(photograph.image, maps)


@dataclasses.dataclass(frozen=True)
class Crf(CrfSection, HostRefiner):
    """Refinement by a dense CRF, which starts from the CAMs and their threshold."""

    path: ClassVar[str] = "refine.crf"
    switches: ClassVar[tuple[Switch, ...]] = crf_switches(path)

    def refine(self, photograph: Photograph) -> Refined:
        start = threshold_background(photograph.cams, photograph.threshold)
        [probabilities] = of_photograph(self, photograph, [start])
        return most_probable(probabilities, photograph.classes)
