"""The result of fsjax.analyse and fsjax.load_result: maps, verdicts and rates as objects, text, figures and files."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from fsjax.data.dataset import Dataset
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import Verdict
from fsjax.evaluation.results import Evaluation, MapRates, MethodEvaluation, planted_positions, read_method
from fsjax.experiment.stage import Workspace
from fsjax.explore import subject
from fsjax.fourier import dfm
from fsjax.report import answer, gate, html, page, verdict_figures
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError, require, unknown
from fsjax.runtime.storage import Path

if TYPE_CHECKING:
    from fsjax.explore.server import Page

# A notebook shows the first classes.
_MOST_SHOWN = 40


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The maps of one search method, the verdict on each class, and the measurements behind it.

    Attributes:
      directory: the workdir; None for a Python call without one.
      evaluation: the content of evaluation.json; `evaluation.methods[method]` is about these maps.
      config: every field of the run's config, nested.
      planted: True where a class has planted frequencies, on the centred plane; None where none were planted.
      model: the analysed model, which further calls do not compile again; None for a result read from files.
      test: the images that judged it; None for a result read from files.

    Examples:
      >>> result  # a Result, which fsjax.analyse and fsjax.load_result return
      <fsjax.Result of graft, 3 classes: 1 of 3 classes is a frequency shortcut: wave. ...>
      >>> result.verdicts[1].kind, round(result.verdicts[1].psi, 2), result.maps.at(0.05).shape
      ('shortcut', 1.0, (3, 8, 8))
      >>> result.rates(0.05).tpr.round(2).tolist()  # in [0, 1]
      [1.0, 1.0, 1.0]
      >>> result.plot("maps").savefig("maps.pdf")
      >>> result.save("saved").name
      'saved'
    """

    directory: Path | None
    method: str
    maps: dfm.DominantFrequencyMaps
    evaluation: Evaluation
    config: dict[str, Any]
    planted: Bool[np.ndarray, "classes height width"] | None = None
    model: Model | None = None
    test: Dataset | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in index order."""
        return self.maps.classes

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdict on each class, in index order; empty without grafts (evaluate.pairs=0)."""
        return list(self._evaluated.grafts.verdicts) if self._evaluated.grafts else []

    @property
    def share(self) -> float:
        """Share of the plane, in (0, 1], at which the table shows TPR and FPR; one of `maps.shares`."""
        return self.maps.nearest(self.config["report"]["share"])

    def rates(self, share: float | None = None) -> MapRates:
        """Return TPR, its interval and FPR of each class under the maps at one of their shares; None = `share`."""
        return self._evaluated.at(self.share if share is None else share)

    def table(self) -> str:
        """Return text, as print shows it: a headline, and for each class verdict, smallest share, psi, TPR and FPR."""
        threshold, full = self.config["evaluate"]["threshold"], self.config["report"]["first_look"]
        return answer.table(self.evaluation, self.method, self.share, threshold, full)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each class: verdict, share, psi with limits, TPR, FPR and sentence."""
        table = pd.DataFrame(self._rows)
        limits = [tuple(interval) if len(interval) else (None, None) for interval in table.pop("psi_ci")]
        table[["psi_low", "psi_high"]] = pd.DataFrame(limits, dtype=float)
        shown = ["name", "kind", "by", "share", "psi", "psi_low", "psi_high", "smallest", "tpr", "fpr", "sentence"]
        return table[shown]

    def plot(self, name: str | None = None) -> Figure:
        """Return one of `figures`; by default psi over the share of the plane, or the maps without verdicts."""
        drawn = self._drawn
        if name is not None and name not in drawn:
            raise unknown("plot", name, list(drawn))
        return drawn[name or next(iter(drawn))]()

    @property
    def figures(self) -> list[str]:
        """Names of the figures for `plot`, such as 'psi', 'maps', 'scores', 'rates', 'radial_profiles'."""
        return list(self._drawn)

    def report(self, path: str | Path) -> Path:
        """Save the result in a folder, write report/<method>/index.html there, and return this file.

        Raises InputError for a result read from files, and for images without 1 or 3 channels.
        """
        if self.model is None or self.test is None:
            raise InputError("report: got a result read from files; expected one from fsjax.analyse or fsjax.evaluate")
        model, test = html.displayable(self.model, self.test)
        directory = self.save(path)
        page.write(ConfigDict(self.config), directory, model, self.maps, test)
        return html.page_folder(directory, self.method) / "index.html"

    def open(self) -> "Result":
        """Return a result read from a run's workdir with the run's model and test images; writes nothing.

        Raises InputError for results without a run, and for a model or images that are gone.
        """
        if self.model is not None and self.test is not None:
            return self
        assert self.directory is not None, "a result without a workdir has its model"
        if not (self.directory / "stages").exists():
            raise InputError(f"open: got {self.directory}, results alone; expected the workdir of a run")
        workspace = Workspace.finished(self.directory, self.method)
        return dataclasses.replace(self, model=workspace.classifier, test=workspace.dataset("test"))

    def explore(self, port: int = 0) -> "Page":
        """Serve a page on this machine on which one paints frequencies and sees what the model says.

        port: 0 = a free one. Returns at once: `page.address` is the page's, `page.close()` ends it. The extra `explore`
        has what it needs. Raises InputError where `open` does, and for images without 1 or 3 channels.
        """
        opened, lines = self.open(), "# result = fsjax.analyse(...), or another result that has its model"
        require("explore")
        from fsjax.explore.server import Page  # the extra may not be installed

        if self.model is None and self.directory is not None:
            lines = f"result = fsjax.load_result({str(self.directory.absolute())!r}, {self.method!r}).open()"
        assert opened.model is not None and opened.test is not None
        name = self.directory.name if self.directory is not None else self.config["model"]["name"]
        return Page(subject.Subject(*html.displayable(opened.model, opened.test), self.maps, name, lines), port)

    def save(self, path: str | Path) -> Path:
        """Write the files that `fsjax.load_result` reads into a folder, and return it.

        Raises InputError for the workdir of a run, and a folder with the result of another search method.
        """
        directory = storage.path(path)
        if (directory / "stages").exists() or (directory / "checkpoints").exists():
            raise InputError(f"save: got {directory}, the workdir of a run; expected another folder")
        if present := [file.stem for file in dfm.files_in(directory) if file.stem != self.method]:
            raise InputError(f"save: got {directory}, which holds maps of {present[0]}; expected another folder")
        self.maps.save(dfm.file_in(directory, self.method))
        files.write_json(directory / "evaluation.json", self.evaluation.to_json())
        if self.planted is not None:
            nothing = np.zeros_like(self.planted)
            files.write_npz(directory / "planted.npz", fixed=self.planted, any=nothing)
        files.write_json(directory / "config.json", self.config)
        return directory

    __str__ = table

    def __repr__(self) -> str:
        return f"<fsjax.Result of {self.method}, {len(self.classes)} classes: {self._headline}>"

    def _repr_html_(self) -> str:
        shown = self._rows[:_MOST_SHOWN]
        return html.template("result.html").render(
            headline=self._headline,
            others=answer.others(self._rows),
            rows=shown,
            hidden=len(self._rows) - len(shown),
            share=self.share,
            kept_differs=self.rates().kept_differs,
        )

    def check(
        self, allow: Iterable[str] = (), kinds: Iterable[str] = gate.REFUSED, max_psi: float | None = None
    ) -> list[Verdict]:
        """Return the verdicts that a gate refuses, as `fsjax check` does: of these kinds, with a psi above max_psi.

        Classes that `allow` names pass. Raises InputError without verdicts, and for an unknown class or kind.

        Examples:
          >>> [verdict.name for verdict in result.check()], result.check(allow=["wave"])
          (['wave'], [])
        """
        return gate.refused(self.verdicts, allow, kinds, max_psi)

    @property
    def _evaluated(self) -> MethodEvaluation:
        return self.evaluation.methods[self.method]

    @property
    def _headline(self) -> str:
        threshold = self.config["evaluate"]["threshold"]
        return answer.headline(self.evaluation, self.method, self._rows, self.share, threshold)

    @functools.cached_property
    def _rows(self) -> list[dict]:
        return answer.class_rows(self.evaluation, self.method, self.share)

    @functools.cached_property
    def _drawn(self) -> dict[str, Any]:
        return verdict_figures.result_figures(
            self.maps, self.evaluation, self.share, self.config["evaluate"]["threshold"]
        )


def load_result(workdir: str | Path, method: str | None = None) -> Result:
    """Load the results of a run or of `Result.save` from a folder or a store's URL; method None = the only one there.

    Examples:
      >>> result = fsjax.load_result("saved")  # or the workdir of a run: "runs/dfm_vit-demo"
      >>> result.method, result.classes, result.maps.masks.shape  # bool [shares, classes, H, W]
      ('graft', ('plain', 'wave', 'bright'), (2, 3, 8, 8))
    """
    workspace = Workspace.finished(storage.path(workdir), method)
    directory, method = workspace.directory, workspace.config.search.method
    maps = dfm.DominantFrequencyMaps.load(workspace.maps_file)
    evaluation = read_method(directory / "evaluation.json", method)
    if evaluation.classes != maps.classes:
        raise InputError(f"{directory}: evaluation.json has other classes than dfm/{method}.npz; run evaluate again")
    truth = directory / "planted.npz"
    planted = planted_positions(files.read_npz(truth, ("fixed", "any"))) if truth.exists() else None
    return Result(directory, method, maps, evaluation, workspace.config.to_dict(), planted)
