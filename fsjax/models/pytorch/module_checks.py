"""Checks of a PyTorch module, in PyTorch, before it is converted."""

import warnings
from typing import Any

import numpy as np

from fsjax.runtime.errors import InputError, one_line

# Largest difference between logits: a share of their standard deviation, and rounding, a share of the largest.
_APART, _ROUNDING = 1e-3, 1e-6


def logits_of_noise(module: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return two images of noise and PyTorch's logits; raise InputError where an image's logits depend on the other."""
    try:
        import torch
    except ImportError as error:
        raise InputError("torch: got no such package; expected the extra torch: pip install 'fsjax[torch]'") from error
    _check_form(module)
    if len(shape) != 4:
        raise InputError(f"from_torch: got an example of shape {list(shape)}; expected images [n, C, H, W]")
    noise = torch.randn(2, *shape[1:], generator=torch.Generator().manual_seed(0))
    found = []
    for images in (noise, noise[:1], noise[1:]):
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outputs = torch.utils._pytree.tree_leaves(module(images.clone()))
        except Exception as error:  # the module's code may raise anything
            got = f"{type(error).__name__} for images {list(images.shape)} ({one_line(error)[:200]})"
            expected = "a module of images [n, C, H, W] for any n, each by itself"
            raise InputError(f"from_torch: got {got}; expected {expected}") from error
        outputs = [value for value in outputs if value is not None]
        if len(outputs) != 1:
            expected = "one, the logits [n, K]: wrap the module in one whose forward returns them"
            raise InputError(f"from_torch: got {len(outputs)} outputs; expected {expected}")
        if np.ndim(outputs[0]) != 2 or len(outputs[0]) != len(images):
            got = f"an output of shape {list(np.shape(outputs[0]))}"
            raise InputError(f"from_torch: got {got}; expected logits [{len(images)}, K]")
        found.append(torch.as_tensor(outputs[0]).float().numpy())
    together, alone = found[0], np.concatenate(found[1:])
    if not np.isfinite(together).all():
        raise InputError("from_torch: got logits that are not finite for images of noise; expected finite numbers")
    if apart := difference(alone, together):
        got = f"other logits for an image alone than beside another, by {apart}"
        expected = "BatchNorm with running statistics, no dropout, nothing computed over the batch"
        raise InputError(f"from_torch: got {got}; expected each image by itself: {expected}")
    return noise.numpy(), together


def difference(logits: np.ndarray, expected: np.ndarray) -> str:
    """Describe a difference that is more than rounding; '' where there is none."""
    difference, spread = np.abs(logits - expected).max(), expected.std(dtype=float)
    if difference <= _APART * spread + _ROUNDING * np.abs(expected).max():
        return ""
    return f"{difference:.2g}, where they vary by {spread:.2g}"


def _check_form(module: Any) -> None:
    """Raise InputError for a module in a form that torch.export does not follow; the line names the form to pass."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"from_torch: got {type(module).__name__}; expected a torch.nn.Module")
    parts, parameters = list(module.modules()), list(module.parameters())
    kinds = {str(value.dtype).removeprefix("torch.") for value in parameters if value.is_floating_point()}
    is_scripted = any(isinstance(part, torch.jit.ScriptModule) for part in parts)
    # Modules that can be quantised add by FloatFunctional, which computes in float32.
    kinds_of_parts = {f"{type(part).__module__}.{type(part).__name__}" for part in parts}
    is_quantised = any(".quantized." in kind and not kind.endswith(".FloatFunctional") for kind in kinds_of_parts)
    for found, form, remedy in (
        (is_scripted, "a scripted module", "the module before torch.jit"),
        (is_quantised, "a quantised module", "the module before quantisation"),
        (kinds - {"float32"}, f"a module in {', '.join(sorted(kinds))}", "float32: module.float()"),
        ({value.device.type for value in parameters} - {"cpu"}, "a module on another device", "module.cpu()"),
        (any(part.training for part in parts), "a module in training mode", "module.eval() before the call"),
    ):
        if found:
            raise InputError(f"from_torch: got {form}; expected {remedy}")
