"""Measure on an accelerator what users run: a training, and searches of the trained model.

  python benchmarks/cost/accelerator.py --workdir=DIR --root=CIFAR10      # CIFAR10/{train,test}/<class>/
  python benchmarks/cost/accelerator.py --workdir=DIR --root=CIFAR10 --parts=search --methods=learned,graft
  python benchmarks/cost/accelerator.py --workdir=DIR --toy               # small enough for two CPU cores

Without --root a planted set of four classes is made. The parts:

  train      a ResNet-18 with the 3x3 stem, trained by the project's runner
  search     removal, learned, hierarchical and graft on that model
  precision  removal scores in TF32 and bfloat16 against 'highest', on that model

`search` and `precision` load the model from the workdir, or train it first. Each row is printed as a JSON object. At
the end comes a table of all rows of these devices in DIR/rows.json. Losses are checked against the CPU's. Every size is
a flag (--help). It has not been run on a GPU or a TPU yet. A CPU's cores are a device each, as in launch.py. Masked
over plain passes and a training over its bare step, also of large models: search.py --only=ratio, train.py --only=step.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from benchmarks.cost.accelerator_parts import searches, train
from benchmarks.cost.accelerator_parts.rows import Rows, markdown
from benchmarks.cost.accelerator_parts.settings import METHODS, TOY, Settings, Sizes
from fsjax.engine.model import PRECISIONS
from fsjax.runtime import parallel, startup

PARTS: dict[str, Callable[[Settings], Iterator[dict[str, Any]]]] = {
    "train": train.measure,
    "search": searches.measure,
    "precision": searches.measure_precisions,
}
_DEFINE = {"str": flags.DEFINE_string, "int": flags.DEFINE_integer, "float": flags.DEFINE_float}


def main(_: list[str]) -> None:
    asked = flags.FLAGS
    logging.set_verbosity(logging.WARNING)
    given = {field.name: asked[field.name].value for field in _sizes() if asked[field.name].value is not None}
    settings = Settings(
        directory=pathlib.Path(asked.workdir),
        root=asked.root or "",
        sizes=dataclasses.replace(TOY if asked.toy else Sizes(), **given),
        methods=tuple(asked.methods),
        precisions=tuple(asked.precisions),
        peaks=tuple(map(float, asked.peak_tflops)),
    )
    startup.use_cores(settings.sizes.batch_size)
    startup.use_compilation_cache()
    print(markdown(measure(asked.parts, settings)))


def measure(parts: Sequence[str], settings: Settings) -> list[dict[str, Any]]:
    """Measure parts; return all rows of these devices in the workdir."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    rows = Rows(settings.directory, parallel.describe())
    for part in parts:
        for row in PARTS[part](settings):
            rows.add(part, row)
    return rows.listed()


def define_flags() -> None:
    """Define the flags; not at import, because other benchmarks define flags of the same names."""
    flags.DEFINE_string("workdir", None, "Folder of the trained model, partial results and rows.", required=True)
    flags.DEFINE_string("root", None, "Folder with {train,test}/<class>/ in it; default: a planted set.")
    flags.DEFINE_bool("toy", False, "Sizes for two CPU cores; each may still be given by its own flag.")
    for name, default, known in (
        ("parts", list(PARTS), list(PARTS)),
        ("methods", list(METHODS), list(METHODS)),
        ("precisions", [], list(PRECISIONS)),
    ):
        flags.DEFINE_list(name, default, f"Some of {', '.join(known)}.")
        flags.register_validator(
            name, lambda chosen, known=known: set(chosen) <= set(known), message=f"expected some of {', '.join(known)}"
        )
    flags.DEFINE_list("peak_tflops", [], "Peak TFLOP/s of one device in TF32, float32 and bfloat16.")
    for field in _sizes():
        _DEFINE[field.type.__name__](field.name, None, f"{field.metadata['help']} ({field.default}).")


def _sizes() -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(Sizes) if "help" in field.metadata]


if __name__ == "__main__":
    define_flags()
    app.run(main)
