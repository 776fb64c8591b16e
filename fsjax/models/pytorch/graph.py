"""A PyTorch module as a JAX function: the graph of `torch.export`, run operator by operator while JAX traces."""

import contextlib
import functools
import warnings
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fsjax.engine.model import Model, check_logits
from fsjax.models.channels_last import channels_last_on_cpu
from fsjax.models.network import folded
from fsjax.models.pytorch import planes, recurrent  # noqa: F401 - they register operators
from fsjax.models.pytorch.module_checks import difference, logits_of_noise
from fsjax.models.pytorch.operators import OPERATORS
from fsjax.runtime.errors import InputError, one_line

# Operators that PyTorch writes as others, besides the operators that torch.export replaces anyway.
_REPLACED = (
    "_adaptive_avg_pool2d _native_batch_norm_legit bucketize diagonal dist grid_sampler_2d linalg_vector_norm "
    "max_pool3d_with_indices native_batch_norm native_group_norm native_layer_norm slice_scatter unfold "
    "upsample_bicubic2d upsample_bilinear2d upsample_nearest2d"
)
# Arguments for the device and memory layout of arrays, which JAX chooses.
_PLACEMENT = ("device", "layout", "memory_format", "pin_memory", "non_blocking", "requires_grad")


def from_torch(module: Any, example: Any) -> Model:
    """Convert a PyTorch classifier to a `Model`, a JAX function of images [n, H, W, C] -> logits [n, K].

    `torch.export` follows the module on one image and gives a graph of operators, which JAX computes. BatchNorm after a
    convolution is folded into it.

    Args:
      module: a torch.nn.Module in evaluation mode, of images [n, C, H, W] -> logits [n, K].
      example: images as the module takes them, float32 [n, C, H, W]; the first image is followed. Its size is the
        model's. Logits are compared on two images of noise, since an example of zeros would show little.

    Raises InputError, a ValueError, for a module in training mode, scripted, quantised or not in float32, or that
    torch.export cannot follow; for an operator that is not in fsjax/models/pytorch; for an output that is not one array
    of logits; and for logits that depend on the other images or differ from PyTorch's.

    Examples:
      >>> import torch
      >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
      >>> converted = fsjax.from_torch(module, torch.zeros(1, 1, 8, 8))
      >>> converted(images).shape  # of images [45, 8, 8, 1]; as `model` in fsjax.analyse
      (45, 3)
    """
    noise, expected = logits_of_noise(module, np.shape(example))
    params, steps, images_name, logits_name = export_graph(module, example)
    channels, height, width = np.shape(example)[1:]
    # Kernels are kept with their outputs last, as convolutions on a CPU take them: otherwise each call transposes them.
    kernels = {step.arguments[1] for step in steps if step.operator == "convolution"} & params.keys()
    params |= {name: np.ascontiguousarray(np.moveaxis(params[name], (0, 1), (-1, -2))) for name in kernels}

    def image_logits(params: dict, image: Float[Array, "channels height width"]) -> Float[Array, " logits"]:
        values: dict[str, Any] = {
            name: jnp.moveaxis(value, (-1, -2), (0, 1)) if name in kernels else jnp.asarray(value)
            for name, value in params.items()
        }
        values[images_name] = image[None]
        for step in steps:
            arguments, keywords = jax.tree.map(
                lambda leaf: values[leaf] if isinstance(leaf, Value) else leaf, (step.arguments, step.keywords)
            )
            values[step.name] = OPERATORS[step.operator](*arguments, **keywords)
        return values[logits_name][0]

    @channels_last_on_cpu
    def apply(params: dict, images: Float[Array, "n height width channels"]) -> Float[Array, "n logits"]:
        return jax.vmap(functools.partial(image_logits, params))(jnp.moveaxis(images, -1, 1))

    with jax.default_matmul_precision("highest"):
        try:
            logits = np.asarray(jax.jit(apply)(params, np.moveaxis(noise, 1, -1)))
        except Exception as error:  # arguments of operators that ours do not have
            got = f"{type(error).__name__} from JAX ({one_line(error)[:200]})"
            operators = "operators with arguments that fsjax/models/pytorch takes: write the module with others"
            raise InputError(f"from_torch: got {got}; expected {operators}") from error
    if apart := difference(logits, expected):
        remedy = "expected the same: compute everything in float32, or pass the model as a JAX function"
        raise InputError(f"from_torch: got logits that differ from PyTorch's by {apart}; {remedy}")
    check_logits(logits, "from_torch")
    return Model(apply, params, (height, width, channels))


class Value(str):
    """The name of an array in the graph: a parameter, the images, or the result of a step."""


class Step(NamedTuple):
    """An operator with its arguments; each array is a `Value`."""

    name: str
    operator: str
    arguments: list
    keywords: dict[str, Any]


class Graph(NamedTuple):
    """The graph of a PyTorch module, for one image [1, C, H, W]: `images` and `logits` name its input and output."""

    params: dict[str, np.ndarray]
    steps: list[Step]
    images: str
    logits: str


def export_graph(module: Any, example: Any) -> Graph:
    """Return the graph of a PyTorch module, with BatchNorms folded; arguments and errors are `from_torch`'s."""
    import torch

    image = torch.tensor(np.asarray(example[:1]), dtype=torch.float32)
    ways = torch.export.default_decompositions()
    ways.update(torch._decomp.get_decompositions([getattr(torch.ops.aten, name) for name in _REPLACED.split()]))
    replaced = {target: way for target, way in ways.items() if _operator_name(target) not in OPERATORS}
    try:
        with torch.no_grad(), warnings.catch_warnings(), contextlib.ExitStack() as stack:
            warnings.simplefilter("ignore")  # torch.export warns about itself
            for part in (torch._subclasses.fake_tensor, torch.fx.experimental.proxy_tensor):
                # Numbers that a module may branch on: those of torchvision's Normalize are checked in each call.
                stack.enter_context(mock.patch.object(part, "CONSTANT_NUMEL_LIMIT", 64, create=True))
            exported = torch.export.export(module, (image,), strict=False).run_decompositions(replaced)
    except Exception as error:  # the module's code may raise anything, as may torch.export
        raise InputError(
            f"from_torch: got {type(error).__name__} from torch.export ({one_line(error)[:200]}); expected a module "
            "whose forward takes one batch of images and does not branch on their values (torch.where in place of if)"
        ) from error
    return _fold(_read_graph(exported))


def _read_graph(exported: Any) -> Graph:
    """Return an exported program as a graph."""
    signature, steps, params = exported.graph_signature, [], {}
    arrays = {**exported.state_dict, **exported.constants}
    names = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    nodes = [node for node in exported.graph.nodes if node.users]
    calls = [node for node in nodes if node.op == "call_function"]
    if missing := sorted({lack for node in calls if (lack := _lack(node))}):
        raise InputError(
            f"from_torch: got a module that uses {', '.join(missing)}; expected the {len(OPERATORS)} operators of "
            "fsjax/models/pytorch: write it with others, or pass the model as a JAX function"
        )
    for node in nodes:
        if node.op == "placeholder" and node.name in names:
            tensor = arrays[names[node.name]].detach().cpu()
            params[node.name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    for node in calls:
        keywords = {name: value for name, value in node.kwargs.items() if name not in _PLACEMENT}
        name, arguments = _operator_name(node.target), _plain(node.args)
        if name == "as_strided":
            arguments = [*arguments[:2], _places(*node.args)]
        steps.append(Step(node.name, name, arguments, _plain(keywords)))
    (images,) = signature.user_inputs
    return Graph(params, steps, images, signature.user_outputs[0])


def _lack(node: Any) -> str:
    """Return the name of what a node needs and OPERATORS has not; ''."""
    if _operator_name(node.target) == "getitem" and node.args[1] == 1 and "max_pool" in str(node.args[0].target):
        return f"the indices of {node.args[0].target}"
    return "" if _operator_name(node.target) in OPERATORS else str(node.target)


def _operator_name(target: Any) -> str:
    """Return 'add' for aten.add.Tensor, and the name of a Python function."""
    schema = getattr(target, "_schema", None)
    return target.__name__ if schema is None else schema.name.partition("::")[2]


def _places(array: Any, size: Any, stride: Any, offset: int | None = None) -> np.ndarray:
    """Return the places in the flat input from which `as_strided`, which steps through memory, takes its numbers."""
    import torch

    value = array.meta["val"]
    numbers = torch.arange(value.numel(), dtype=torch.int32).view(value.shape)
    places = torch.empty_strided(value.shape, value.stride(), dtype=torch.int32).copy_(numbers)
    return places.as_strided(size, stride, offset).flatten().numpy()


def _plain(value: Any) -> Any:
    """Return arguments of a node without PyTorch's types: nodes as `Value`, dtypes as NumPy's."""
    import torch

    if isinstance(value, torch.fx.Node):
        return Value(value.name)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, torch.dtype):
        if value.is_complex:
            return jnp.complex64
        return jnp.float32 if value.is_floating_point else jnp.bool_ if value == torch.bool else jnp.int32
    return value


def _fold(graph: Graph) -> Graph:
    """Fold each BatchNorm into the convolution before it, where nothing else reads that convolution."""
    params, steps = dict(graph.params), {step.name: step for step in graph.steps}
    leaves = jax.tree.leaves([(step.arguments, step.keywords) for step in graph.steps])
    reads = [leaf for leaf in leaves if isinstance(leaf, Value)]
    for step in graph.steps:
        if step.operator != "_native_batch_norm_legit_no_training":
            continue
        source, *statistics = step.arguments[:5]
        convolution = steps.get(source)
        if convolution is None or convolution.operator != "convolution" or reads.count(source) != 1:
            continue
        x, kernel, bias, *geometry = convolution.arguments
        read = [name for name in (kernel, bias, *statistics) if name is not None]
        if geometry[3] or not all(name in params and reads.count(name) == 1 for name in read):  # [3]: transposed
            continue
        before, scale, shift = (
            default if name is None else params.pop(name)
            for name, default in zip((bias, *statistics[:2]), (0.0, 1.0, 0.0), strict=True)
        )
        mean, variance = (params.pop(name) for name in statistics[2:])
        outputs_last = np.moveaxis(params[kernel], 0, -1)
        new, moved = folded(outputs_last, before, scale, shift, mean, variance, step.arguments[6])
        new_bias = Value(f"{step.name}_bias")
        params |= {kernel: np.moveaxis(new, -1, 0), new_bias: moved}
        steps[source] = convolution._replace(arguments=[x, kernel, new_bias, *geometry])
        steps[step.name] = Step(step.name, "folded", [source], {})
    return graph._replace(params=params, steps=list(steps.values()))
