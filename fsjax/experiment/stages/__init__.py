"""The stages of a run, in their order."""

from fsjax.experiment.stage import Stage
from fsjax.experiment.stages import compare, dynamics, evaluate, export, probe, search, spectra, train

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        probe.STAGE,
        train.STAGE,
        spectra.ADCS,
        search.STAGE,
        evaluate.STAGE,
        evaluate.OOD,
        spectra.HEAT_MAP,
        evaluate.REPORT,
        export.STAGE,
        compare.STAGE,
        dynamics.STAGE,
    )
}
