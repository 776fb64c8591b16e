"""What the final training was kept from: the maps of each probe, and psi before and after."""

import numpy as np
from jaxtyping import Bool

from fsjax.evaluation import evaluation_file
from fsjax.evaluation.ood import results as ood_results
from fsjax.evaluation.probes import Probes, result_file
from fsjax.fourier import dfm
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.report import html, pictures
from fsjax.report.sections.section import Section
from fsjax.runtime import files
from fsjax.runtime.storage import Path
from fsjax.training.ways import graft

# Classes whose maps are drawn.
_MOST = 40


def inputs(directory: Path, method: str) -> list[Path]:
    """See section.Maker."""
    return [result_file(directory), graft.probed_file(directory)]


def make(directory: Path, maps: DominantFrequencyMaps, share: float) -> Section:
    """See section.Maker."""
    found = Probes.read(result_file(directory))
    after = evaluation_file.read_method(directory / "evaluation.json", maps.method)
    grafts = after.methods[maps.method].grafts
    drawn = len(found.classes[:_MOST])
    of_rounds = [_maps(directory, number, drawn) for number in range(1, len(found.rounds) + 1)]
    rows = [
        {
            "name": name,
            "exempt": found.exempt[label],
            "rounds": [
                {
                    "picture": pictures.mask_picture(of_round[label]),
                    "psi": float(one.psi[label]),
                    "limits": one.psi_ci[label],
                    "positions": one.positions[label] if one.positions else None,
                    "used": one.used[label],
                }
                for one, of_round in zip(found.rounds, of_rounds, strict=True)
            ],
            "after": float(grafts.rates.psi[label]) if grafts else None,
            "after_limits": grafts.rates.psi_ci[label] if grafts else (),
            "after_share": float(grafts.rates.share[label]) if grafts else None,
        }
        for label, name in enumerate(found.classes[:_MOST])
    ]
    body = html.template("probes_section.html").render(
        rounds=found.rounds,
        rows=rows,
        classes=len(found.classes),
        grafted=pictures.mask_picture(np.array(files.map_npy(graft.probed_file(directory)))),
        share=found.share,
        cost=found.cost,
        accuracy=after.unfiltered.accuracy,
        others=_others(directory, maps.method, found.before or {}),
        method=maps.method,
    )
    return Section("What the training was kept from", body)


def _others(directory: Path, method: str, before: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return the accuracy of the first and of the final network on each set of the stage ood that both have seen."""
    if not (file := ood_results.result_file(directory, method)).exists():
        return {}
    after = ood_results.OodResult.read(file).sets
    return {name: (accuracy, after[name].accuracy) for name, accuracy in before.items() if name in after}


def _maps(directory: Path, number: int, count: int) -> Bool[np.ndarray, "classes height width"]:
    """Return the maps of the first classes in a round."""
    return DominantFrequencyMaps.load(dfm.file_in(directory / "probes" / str(number), "graft")).masks[0, :count]
