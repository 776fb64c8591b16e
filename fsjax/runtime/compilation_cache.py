"""JAX's persistent compilation cache of programs for accelerators, in the user's cache folder.

Not for CPUs: a home folder may be that of several machines, and XLA runs a CPU program that was compiled for another
processor, up to an illegal instruction; on some it prints an error for each program of its own (jax-ml/jax#38445).
"""

import logging
from typing import Any

import jax

from fsjax.runtime import parallel, user_cache

logger = logging.getLogger(__name__)


def use() -> None:
    """Keep programs for accelerators in $XDG_CACHE_HOME/fsjax/jax or ~/.cache/fsjax/jax: a restart compiles no more.

    Call it before JAX compiles anything, and after processes have joined. JAX's own settings come first, such as
    JAX_COMPILATION_CACHE_DIR and JAX_ENABLE_COMPILATION_CACHE=false. A folder that cannot be written is one warning.
    """
    settings: Any = jax.config  # JAX types few of its flags
    said = settings.jax_compilation_cache_dir is not None or not settings.jax_enable_compilation_cache
    if said or jax.default_backend() == "cpu":
        return
    try:
        folder = user_cache.folder("jax")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        if parallel.is_main_process():
            logger.warning("compiled programs are not kept for the next start: %s", error)
        return
    settings.update("jax_compilation_cache_dir", str(folder))
