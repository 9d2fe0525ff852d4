"""The pieces that the library has, and the files with the published program's numbers
for each.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax

from experiments.parity import (
    affinity,
    amdim,
    cotraining,
    crf,
    cyclegan,
    drs,
    group,
    lal,
    losses,
    masks,
    mcof,
    mctformer,
    networks,
    ocr,
    par,
    ppc,
    prm,
    puzzle,
    sba,
    sipe,
    vit,
)
from experiments.parity.check import Check
from hfpl_jax.errors import InputError


class Piece(NamedTuple):
    """file: where the numbers are; its folder holds what else the check reads. check:
    from that folder to the rows of the table. beside: further .npz files of the piece.
    """

    file: str
    check: Callable[[pathlib.Path], list[Check]]
    beside: tuple[str, ...] = ()


def _loss(name: str, check: Callable) -> Piece:
    return Piece(name, losses.of_file(check, name))


PIECES: Mapping[str, Piece] = MappingProxyType(
    {
        "importance sampling loss": _loss("isl.npz", losses.check_importance_sampling),
        "feature similarity loss": _loss("fsl.npz", losses.check_feature_similarity),
        "SEAM and HFPL losses": _loss("seam_losses.npz", losses.check_seam),
        "PuzzleCAM step": Piece("puzzle.npz", puzzle.check_step),
        "PuzzleCAM inference": Piece("puzzle_inference.npz", puzzle.check_inference),
        "SIPE step": Piece("sipe.npz", sipe.check_step),
        "SIPE inference": Piece("sipe_inference.npz", sipe.check_inference),
        "PPC contrast": Piece("ppc_contrast.npz", ppc.check_contrast),
        "PPC step": Piece("ppc_step.npz", ppc.check_step),
        "DRS": Piece("drs.npz", drs.check_drs),
        "Group-WSSS graph": Piece("gwsss.npz", group.check_graph),
        "Group-WSSS network": Piece("gwsss.npz", group.check_network),
        "PRM stimulation": Piece("prm.npz", prm.check_stimulation),
        "PRM responses": Piece("prm.npz", prm.check_responses),
        "PRM instances": Piece("prm.npz", prm.check_instances),
        "SBA (PWA) descriptors": Piece("sba_pwa.npz", sba.check_sba),
        "AMDIM loss": Piece("amdim_nce.npz", amdim.check_amdim),
        "prototypes": Piece("protonet.npz", amdim.check_prototypes),
        "MCTformer V2": Piece("mctformer_v2.npz", mctformer.check_v2),
        "MCTformer+": Piece("mctformer_plus.npz", mctformer.check_plus),
        "ViT": Piece("vit_timm.npz", vit.check_vit, ("pos_embed.npz",)),
        "LAL": Piece("lal_ours.npz", losses.of_file(lal.check_lal, "lal_ours.npz")),
        "OCR head": Piece("ocr.npz", ocr.check_ocr),
        "PAR": Piece("par.npz", par.check_par),
        "co-training losses": Piece("cotraining_losses.npz", cotraining.check_losses),
        "co-training step": Piece("cotraining_adv.npz", cotraining.check_step),
        "CycleGAN losses": Piece("cyclegan_losses.npz", cyclegan.check_losses),
        "CycleGAN networks": Piece("cyclegan_nets.npz", cyclegan.check_networks),
        "MCOF regions": Piece("mcof_ours.npz", mcof.check_mcof),
        "region merging": Piece("regionmerge_ours.npz", mcof.check_merging),
        "SEAM network": Piece("resnet38_seam.npz", networks.check_seam_network),
        "MXNet file": Piece(
            "resnet38_tiny.params", networks.check_mxnet, ("resnet38_tiny_expected.npz",)
        ),
        "CAM merge": Piece("cam_merge.npz", masks.check_cam_merge),
        "dense CRF": Piece("crf.npz", crf.check),
        "affinity labels and loss": Piece("affinity_labels.npz", affinity.check_labels),
        "affinity network": Piece("affinity.npz", networks.check_affinity_network),
        "random walk": Piece("affinity.npz", affinity.check_walk),
        "segmentation network": Piece("deeplabv1.npz", networks.check_segmentation_network),
        "metrics": Piece("metrics.npz", masks.check_metrics),
    }
)


def check_piece(name: str, goldens: pathlib.Path) -> tuple[list[Check], str]:
    """The rows of a piece, and why there are none: a file or an array that is missing
    or does not fit. The file may lie in any subfolder, but in one alone.
    """
    piece = PIECES[name]
    found = sorted(goldens.rglob(piece.file))
    if not found:
        return [], f"the file {piece.file} is missing"
    if len(found) > 1:
        places = " and ".join(str(path.relative_to(goldens)) for path in found)
        return [], f"there are {places}: keep one, or name its folder"
    try:
        with jax.default_matmul_precision("highest"):
            return piece.check(found[0].parent), ""
    except FileNotFoundError as error:
        return [], f"the file {pathlib.Path(error.filename).name} is missing"
    except KeyError as error:
        return [], f"an array is missing: {error.args[0]}"
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        return [], f"the file {piece.file}, or one beside it, is damaged ({error})"
    except (InputError, ValueError, OSError) as error:
        return [], str(error)


def not_built(goldens: pathlib.Path) -> list[str]:
    """The .npz files below the folder that no piece of the library reads."""
    read = {name for piece in PIECES.values() for name in (piece.file, *piece.beside)}
    return [
        str(path.relative_to(goldens))
        for path in sorted(goldens.rglob("*.npz"))
        if path.name not in read
    ]
