"""Programs for accelerators are kept in the user's cache folder, unless JAX is told otherwise."""

import os
import subprocess
import sys

PROGRAM = """
import logging, sys
logging.basicConfig(format="%(message)s", stream=sys.stderr)
import jax
from fsjax.runtime import compilation_cache
jax.default_backend = lambda: sys.argv[1]
compilation_cache.use()
print(jax.jit(lambda x: x * 2 + 1)(3.0))
"""


def test_programs_are_kept_where_xdg_or_jax_says_and_a_folder_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    settings = {
        "xdg": {"XDG_CACHE_HOME": str(tmp_path / "xdg")},
        "home": {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "relative"},
        "jax": {"XDG_CACHE_HOME": str(tmp_path / "unused"), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")},
        "off": {"XDG_CACHE_HOME": str(tmp_path / "unused"), "JAX_ENABLE_COMPILATION_CACHE": "false"},
        "cpu": {"XDG_CACHE_HOME": str(tmp_path / "unused")},
        "unwritable": {"XDG_CACHE_HOME": str(tmp_path / "file")},
    }
    common = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "cpu" if name == "cpu" else "gpu"],
            env={**common, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, changes in settings.items()
    }
    printed = {name: process.communicate(timeout=120) for name, process in running.items()}
    assert {name: out for name, (out, _) in printed.items()} == dict.fromkeys(settings, "7.0\n")

    def kept(folder):
        return [file for file in folder.rglob("*") if file.is_file()]

    for folder in ("xdg/fsjax/jax", "home/.cache/fsjax/jax", "jax"):
        assert kept(tmp_path / folder), folder
    assert not (tmp_path / "unused").exists()
    warning = printed.pop("unwritable")[1]
    assert warning.startswith("compiled programs are not kept for the next start: ") and warning.count("\n") == 1
    assert str(tmp_path / "file") in warning
    assert not any(errors for _, errors in printed.values())
