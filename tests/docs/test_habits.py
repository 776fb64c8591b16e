"""The package as tools and other people's code meet it."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `pip install .` puts on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "fsjax", folder / "fsjax", ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir=out",
        ".",
    ]
    subprocess.run(command, cwd=folder, check=True)
    (wheel,) = (folder / "out").glob("fsjax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_wheel_has_every_file_of_the_package_and_nothing_beside_it(installed):
    def files(folder):
        return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}

    expected = {name for name in files(ROOT / "fsjax") if "__pycache__" not in name}
    named = {"py.typed", "report/base.html", "experiment/cli.py", "evaluation/ood/mappings/same.yaml"}
    assert files(installed / "fsjax") == expected and named <= expected
    others = {path.name for path in installed.iterdir()} - {"fsjax"}
    assert len(others) == 1 and others.pop().endswith(".dist-info")


def test_what_is_installed_is_imported_from_anywhere_and_loads_jax_on_first_use(installed, tmp_path):
    code = "import sys, fsjax; print(fsjax.__file__, 'jax' in sys.modules, fsjax.dominant_frequencies.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(installed / "fsjax" / "__init__.py"), "False", "dominant_frequencies"]
