"""Puts configs/ into the wheel, as fsjax/shipped/configs; all else of the build is in pyproject.toml."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the experiments beside the package, from their one source."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # reads them where they are
            return
        folder = pathlib.Path(self.build_lib, "fsjax", "shipped", "configs")
        self.mkpath(str(folder))
        for file in sorted(pathlib.Path("configs").glob("*.py")):
            self.copy_file(str(file), str(folder / file.name))


setup(cmdclass={"build_py": BuildWithConfigs})
