"""The stages of an experiment: one file each, and a line here, in the order in which they run."""

from fsjax.stages import compare, evaluate, export, report, search, train
from fsjax.stages.stage import Stage

STAGES: dict[str, Stage] = {
    module.STAGE.name: module.STAGE for module in (train, search, evaluate, report, export, compare)
}
