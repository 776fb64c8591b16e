"""The stages of one run: one file each, and a line here, in the order in which they run."""

from fsjax.experiment.stages import adcs, compare, evaluate, export, heat_map, ood, report, search, train
from fsjax.experiment.stages.stage import Stage

STAGES: dict[str, Stage] = {
    module.STAGE.name: module.STAGE
    for module in (train, adcs, search, evaluate, ood, heat_map, report, export, compare)
}
