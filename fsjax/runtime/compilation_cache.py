"""JAX's persistent compilation cache, in the user's cache folder."""

import logging
import os
import pathlib
import tempfile

import jax

from fsjax.runtime import parallel

logger = logging.getLogger(__name__)


def use() -> None:
    """Keep compiled programs in $XDG_CACHE_HOME/fsjax/jax or ~/.cache/fsjax/jax, so that a restart compiles no more.

    Call it before JAX compiles anything, and after processes have joined. JAX's own settings come first, such as
    JAX_COMPILATION_CACHE_DIR and JAX_ENABLE_COMPILATION_CACHE=false. A folder that cannot be written is one warning.
    """
    settings = jax.config
    if settings.jax_compilation_cache_dir is not None or not settings.jax_enable_compilation_cache:  # type: ignore[attr-defined]  # JAX types few of its flags
        return
    try:
        folder = _user_cache() / "fsjax" / "jax"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        if parallel.is_main_process():
            logger.warning("compiled programs are not kept for the next start: %s", error)
        return
    settings.update("jax_compilation_cache_dir", str(folder))


def _user_cache() -> pathlib.Path:
    """Return the user's cache folder by the XDG Base Directory Specification, which ignores relative paths."""
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else pathlib.Path.home() / ".cache"
