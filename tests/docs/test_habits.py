"""The package as tools and other people's code meet it."""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from fsjax.runtime.errors import EXTRAS
from tests.helpers.processes import python

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `pip install .` puts on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("fsjax", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = "--quiet --no-deps --no-build-isolation --wheel-dir=out ."
    command = [sys.executable, "-m", "pip", "wheel", *options.split()]
    subprocess.run(command, cwd=folder, check=True)
    (wheel,) = (folder / "out").glob("fsjax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_wheel_has_every_file_of_the_package_and_nothing_beside_it(installed):
    def files(folder):
        return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}

    expected = {name for name in files(ROOT / "fsjax") if "__pycache__" not in name}
    named = {"py.typed", "report/base.html", "experiment/command.py", "evaluation/ood/mappings/same.yaml"}
    configs = {f"shipped/configs/{name}" for name in files(ROOT / "configs") if "__pycache__" not in name}
    assert files(installed / "fsjax") == expected | configs and named <= expected
    assert (installed / "fsjax/shipped/configs/dfm_vit.py").read_text() == (ROOT / "configs/dfm_vit.py").read_text()
    others = {path.name for path in installed.iterdir()} - {"fsjax"}
    assert len(others) == 1 and others.pop().endswith(".dist-info")


INSTALLED = """
import sys, fsjax
print(fsjax.__file__, "jax" in sys.modules)
from fsjax.experiment import command
print(command.main(["fsjax", "--config=dfm_vti"]), "jax" in sys.modules)
for name in ("dfm_vit", "configs/dfm_vit.py:cifar10", "own.py"):
    config, workdir, _ = command.parse(["fsjax", f"--config={name}", "--config.seed=3"])
    print(workdir, config.seed, config.train.steps)
print(fsjax.dominant_frequencies.__name__)
"""


def test_what_is_installed_works_from_any_folder_and_its_command_finds_experiments_by_name(installed, tmp_path):
    """With the installed package alone on Python's path; JAX is loaded on first use."""
    (tmp_path / "own.py").write_text(
        "from configs import dfm_vit\n\ndef get_config():\n    config = dfm_vit.get_config()\n"
        "    config.train.steps = 7\n    return config\n"
    )
    done = python(INSTALLED, cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.stdout.splitlines() == [
        f"{installed / 'fsjax' / '__init__.py'} False",
        "2 False",
        "runs/dfm_vit-demo 3 500",
        "runs/dfm_vit-cifar10 3 0",
        "runs/own-demo 3 7",
        "dominant_frequencies",
    ], done.stderr
    assert done.stderr.startswith("error: --config: got 'dfm_vti'; expected adcs, ")
    assert done.stderr.endswith("study (did you mean dfm_vit?)\n")


def test_requirements_are_the_core_and_the_extras_that_a_run_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == [*project["dependencies"], *extras["tfds"]]
    assert len(project["dependencies"]) < 24
    for extra, modules in EXTRAS.items():
        packages = {requirement.split(">=")[0].replace("-", "_") for requirement in extras[extra]}
        assert packages == set(modules)


CORE_ALONE = """
import importlib, pkgutil
import fsjax
for module in pkgutil.walk_packages(fsjax.__path__, "fsjax."):
    if module.name not in {needing}:
        importlib.import_module(module.name)
import numpy as np
from fsjax.report import figures
images, labels = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32), np.arange(4) % 2
maps = fsjax.dominant_frequencies(lambda x: x.sum((1, 3))[:, :2], images, labels, shares=[0.05])
figures.map_grid(maps.at(0.05), maps.classes, 0.05).savefig("maps.png")
"""


HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def test_the_core_alone_searches_and_draws(tmp_path):
    hidden = [module for modules in EXTRAS.values() for module in modules]
    hidden = [*hidden, "tensorflow", "torch", "torchvision", "wandb"]
    needing = ["fsjax.data.huggingface", "fsjax.data.tfds", "fsjax.explore.server"]
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(modules=hidden))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = python(CORE_ALONE.format(needing=needing), cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "maps.png").stat().st_size > 1000


def test_what_is_not_installed_is_one_line_that_names_its_extra(tmp_path, monkeypatch, launch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # as if it were not installed
    flags = ["--config=dfm_vit", "--config.data.source=tfds", "--config.data.name=x", f"--workdir={tmp_path / 'run'}"]
    said = "error: tensorflow_datasets: got no such package; expected the extra tfds: pip install 'fsjax[tfds]'\n"
    assert launch(*flags) == (2, said)
    assert not (tmp_path / "run").exists()
