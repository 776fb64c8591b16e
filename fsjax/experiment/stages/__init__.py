"""The stages of an experiment: one file each, and a line here, in the order in which they run."""

from fsjax.experiment.stages import (
    adcs,
    compare,
    dynamics,
    evaluate,
    export,
    heat_map,
    ood,
    report,
    runs,
    search,
    study,
    train,
)
from fsjax.experiment.stages.stage import Stage

STAGES: dict[str, Stage] = {
    module.STAGE.name: module.STAGE
    for module in (train, adcs, search, evaluate, ood, heat_map, dynamics, report, export, compare, study, runs)
}
