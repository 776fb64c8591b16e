"""Optional packages, which extras of fsjax install."""

import contextlib
import importlib.util

from fsjax.runtime.errors import InputError

# Extra -> its modules, for each data.source that needs one; pyproject.toml has all extras.
EXTRAS = {
    "huggingface": ("datasets",),
    "tfds": ("array_record", "importlib_resources", "tensorflow_datasets"),
}


def require(extra: str) -> None:
    """Raise InputError, naming the extra, if one of its modules is not installed."""
    for module in EXTRAS[extra]:
        with contextlib.suppress(ImportError, ValueError):  # an import hook or sys.modules[module] = None hides it
            if importlib.util.find_spec(module):
                continue
        raise InputError(f"{module}: got no such package; expected the extra {extra}: pip install 'fsjax[{extra}]'")
