"""The stage search: dominant frequency maps of each class."""

from ml_collections import ConfigDict

from fsjax import search
from fsjax.experiment import forecast
from fsjax.experiment.stage import Stage, Workspace, fingerprint
from fsjax.experiment.stages import train
from fsjax.runtime import parallel
from fsjax.runtime.parallel import versions
from fsjax.search.method import make_problem


def check(config: ConfigDict) -> None:
    """Raise InputError for a bad field of search."""
    search.check(config.search, (config.data.image_size, config.data.image_size))


def problem(workspace: Workspace, seed: int) -> search.Problem:
    """Return the search problem of config.search; the seed draws the searched images and seeds the method."""
    config = workspace.config
    return make_problem(
        workspace.classifier,
        workspace.dataset(config.search.split),
        options=config.search,
        seed=seed,
        searched_on=config.search.split,
        run=config.run,
        provenance={"fields": fingerprint(config, STAGE), **versions()},
        directory=workspace.directory / "search" / config.search.method,
        metrics=workspace.metrics,
    )


def _search(workspace: Workspace) -> None:
    maps = search.run(problem(workspace, workspace.config.seed))
    if parallel.is_main_process():
        maps.save(workspace.maps_file)


STAGE = Stage(
    name="search",
    fields=("search",),
    needs=(train.STAGE,),
    check=check,
    by_method=True,
    outputs=lambda workspace: [workspace.maps_file],
    run=_search,
    reads=lambda workspace: search.selected(workspace.config.search).reads(workspace.config.search),
    partial=lambda config: f"search/{config.search.method}",
    splits=lambda config: (config.search.split,),
    work=lambda config, datasets: forecast.search_work(config, datasets[config.search.split]),
)
