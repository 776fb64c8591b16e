"""A PyTorch module as a JAX function: the graph of `torch.export`, run operator by operator while JAX traces."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fsjax.engine.model import Model
from fsjax.models.network import folded
from fsjax.models.pytorch import OPERATORS, arithmetic, planes, shapes  # noqa: F401 - they register operators
from fsjax.runtime.errors import InputError, one_line

# Arguments for the device and memory layout of arrays, which JAX chooses.
_PLACEMENT = ("device", "layout", "memory_format", "pin_memory", "non_blocking", "requires_grad")
# The operator of a step whose BatchNorm was folded.
_FOLDED = "folded"
OPERATORS[_FOLDED] = lambda x: (x,)
# Largest difference of logits from PyTorch's, as a share of the largest logit.
_APART = 1e-3


def from_torch(module: Any, example: Any) -> Model:
    """Convert a PyTorch classifier to a `Model`, a JAX function of images [n, H, W, C] -> logits [n, K].

    `torch.export` follows the module on one image and gives a graph of operators, which JAX computes. BatchNorm after a
    convolution is folded into it.

    Args:
      module: a torch.nn.Module in evaluation mode, of images [n, C, H, W] -> logits [n, K].
      example: images as the module takes them, float32 [n, C, H, W]; the first image is followed. Its size is the
        model's. Logits are compared on an image of noise, since an example of zeros would show little.

    Raises:
      InputError: a ValueError: a module in training mode, a module that torch.export cannot follow, an operator that is
        not in fsjax/models/pytorch, an output that is not one array of logits, or logits that differ from PyTorch's.

    Examples:
      >>> import torch
      >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
      >>> converted = fsjax.from_torch(module, torch.zeros(1, 1, 8, 8))
      >>> converted(images).shape  # of images [45, 8, 8, 1]; as `model` in fsjax.analyse
      (45, 3)
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("torch: got no such package; expected the extra torch: pip install 'fsjax[torch]'") from error
    graph, (channels, height, width) = export_graph(module, example), np.shape(example)[1:]
    model = Model(graph.as_function(), graph.params, (height, width, channels))
    with torch.no_grad():
        noise = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
        expected = module(noise)
    if not isinstance(expected, torch.Tensor):
        (expected,) = (value for value in torch.utils._pytree.tree_leaves(expected) if value is not None)
    _check(model, np.moveaxis(noise.numpy(), 1, -1), expected.numpy())
    return model


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the graph, by name: a parameter, the images, or the result of a step."""

    name: str


@dataclasses.dataclass(frozen=True)
class Step:
    """An operator with its arguments; each array is a `Value`."""

    name: str
    operator: str
    arguments: tuple
    keywords: dict[str, Any]

    def run(self, values: dict[str, Any]) -> Any:
        arguments, keywords = jax.tree.map(
            lambda leaf: values[leaf.name] if isinstance(leaf, Value) else leaf, (self.arguments, self.keywords)
        )
        return OPERATORS[self.operator](*arguments, **keywords)


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """The graph of a PyTorch module.

    Attributes:
      params: float32 arrays and others, by name.
      steps: in order, for one image [1, C, H, W].
      images, logits: names of the graph's input and output.
    """

    params: dict[str, np.ndarray]
    steps: tuple[Step, ...]
    images: str
    logits: str

    def as_function(self) -> Callable:
        """Return (params, images [n, H, W, C]) -> logits [n, K]."""
        steps, images_name, logits_name = self.steps, self.images, self.logits

        def image_logits(params: dict, image: Float[Array, "channels height width"]) -> Float[Array, " logits"]:
            values: dict[str, Any] = {name: jnp.asarray(value) for name, value in params.items()}
            values[images_name] = image[None]
            for step in steps:
                values[step.name] = step.run(values)
            return values[logits_name][0]

        def apply(params: dict, images: Float[Array, "n height width channels"]) -> Float[Array, "n logits"]:
            return jax.vmap(functools.partial(image_logits, params))(jnp.moveaxis(images, -1, 1))

        return apply


def export_graph(module: Any, example: Any) -> Graph:
    """Return the graph of a PyTorch module, with BatchNorms folded; arguments and errors are `from_torch`'s."""
    import torch

    if any(part.training for part in module.modules()):
        raise InputError("from_torch: got a module in training mode; expected module.eval() before the call")
    image = torch.as_tensor(np.asarray(example[:1]), dtype=torch.float32)
    if image.ndim != 4:
        raise InputError(f"from_torch: got an example of shape {list(image.shape)}; expected images [n, C, H, W]")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export warns about itself
            exported = torch.export.export(module, (image,), strict=False).run_decompositions()
    except Exception as error:  # the module's code may raise anything, as may torch.export
        raise InputError(
            f"from_torch: got {type(error).__name__} from torch.export ({one_line(error)[:200]}); expected a module "
            "whose forward takes one batch of images and does not branch on their values"
        ) from error
    return _fold(_read_graph(exported))


def _read_graph(exported: Any) -> Graph:
    """Return an exported program as a graph."""
    signature, steps, params = exported.graph_signature, [], {}
    if len(signature.user_outputs) != 1:
        raise InputError(f"from_torch: got {len(signature.user_outputs)} outputs; expected one, the logits [n, K]")
    arrays = {**exported.state_dict, **exported.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    nodes = [node for node in exported.graph.nodes if node.users]
    calls = [node for node in nodes if node.op == "call_function"]
    if missing := sorted({str(node.target) for node in calls if _operator_name(node) not in OPERATORS}):
        raise InputError(
            f"from_torch: got a module that uses {', '.join(missing)}; expected one of the {len(OPERATORS)} operators "
            "of fsjax/models/pytorch"
        )
    for node in nodes:
        if node.op == "placeholder" and node.name in names:
            params[node.name] = _array(arrays[names[node.name]])
    for node in calls:
        keywords = {name: value for name, value in node.kwargs.items() if name not in _PLACEMENT}
        name, arguments = _operator_name(node), _plain(node.args)
        if name == "as_strided":
            arguments = (arguments[0], arguments[1], _places(node))
        steps.append(Step(node.name, name, arguments, _plain(keywords)))
    (images,) = signature.user_inputs
    return Graph(params, tuple(steps), images, signature.user_outputs[0])


def _operator_name(node: Any) -> str:
    """Return 'add' for aten.add.Tensor, and the name of a Python function."""
    schema = getattr(node.target, "_schema", None)
    return node.target.__name__ if schema is None else schema.name.partition("::")[2]


def _places(node: Any) -> np.ndarray:
    """Return the places in the flat input from which `as_strided`, which steps through memory, takes its numbers."""
    array, size, stride, *offset = node.args
    value = array.meta["val"]
    in_memory = _offsets(value.shape, value.stride())
    place = np.zeros(in_memory.max() + 1, np.int32)
    place[in_memory] = np.arange(in_memory.size)
    return place[_offsets(size, stride) + (offset[0] if offset and offset[0] else 0)]


def _offsets(size: Any, stride: Any) -> np.ndarray:
    """Return the offset in memory of each number of an array, flat."""
    places = np.indices(tuple(size)).reshape(len(size), -1)
    return np.asarray(stride, int) @ places if len(size) else np.zeros(1, int)


def _array(tensor: Any) -> np.ndarray:
    """Return a tensor as an array, floats as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _plain(value: Any) -> Any:
    """Return arguments of a node without PyTorch's types: nodes as `Value`, dtypes as NumPy's."""
    import torch

    if isinstance(value, torch.fx.Node):
        return Value(value.name)
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, torch.dtype):
        if value.is_floating_point:
            return jnp.dtype(torch.empty(0, dtype=value).float().numpy().dtype)
        return jnp.bool_ if value == torch.bool else jnp.int32
    return None if isinstance(value, torch.device | torch.layout | torch.memory_format) else value


def _fold(graph: Graph) -> Graph:
    """Fold each BatchNorm into the convolution before it, where nothing else reads that convolution."""
    params, steps = dict(graph.params), {step.name: step for step in graph.steps}
    leaves = [leaf for step in graph.steps for leaf in jax.tree.leaves((step.arguments, step.keywords))]
    reads = [leaf.name for leaf in leaves if isinstance(leaf, Value)]
    for step in graph.steps:
        if step.operator != "_native_batch_norm_legit_no_training":
            continue
        source, *statistics = step.arguments[:5]
        convolution = steps.get(source.name)
        if convolution is None or convolution.operator != "convolution" or reads.count(source.name) != 1:
            continue
        kernel, bias, transposed = convolution.arguments[1], convolution.arguments[2], convolution.arguments[6]
        read = [value.name for value in (kernel, bias, *statistics) if value is not None]
        if transposed or not all(name in params and reads.count(name) == 1 for name in read):
            continue
        weight, shift = (
            default if value is None else params.pop(value.name)
            for value, default in zip(statistics[:2], (1.0, 0.0), strict=True)
        )
        mean, variance = (params.pop(value.name) for value in statistics[2:])
        old = 0.0 if bias is None else params.pop(bias.name)
        outputs_last = np.moveaxis(params[kernel.name], 0, -1)
        new, moved = folded(outputs_last, old, weight, shift, mean, variance, step.arguments[6])
        params |= {kernel.name: np.moveaxis(new, -1, 0), f"{step.name}_bias": moved}
        arguments = (*convolution.arguments[:2], Value(f"{step.name}_bias"), *convolution.arguments[3:])
        steps[convolution.name] = dataclasses.replace(convolution, arguments=arguments)
        steps[step.name] = Step(step.name, _FOLDED, (source,), {})
    return dataclasses.replace(graph, params=params, steps=tuple(steps.values()))


def _check(model: Model, image: np.ndarray, expected: np.ndarray) -> None:
    """Raise InputError where an output is not logits, or where logits differ from PyTorch's."""
    if expected.ndim != 2:
        raise InputError(f"from_torch: got an output of shape {list(expected.shape)}; expected logits [n, K]")
    forward: Callable[..., Array] = jax.jit(model.apply)
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(forward(model.params, jnp.asarray(image)))
    difference = np.abs(logits - expected).max() / max(float(np.abs(expected).max()), 1e-30)
    if not difference <= _APART:
        raise InputError(
            f"from_torch: got logits that differ from PyTorch's by {difference:.2g} of the largest; expected {_APART:g}"
        )
