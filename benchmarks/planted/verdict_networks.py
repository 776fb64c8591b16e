"""Small networks of four architectures trained on the verdict benchmark's sets, kept on disk.

net = load_or_train(directory, seed=1000)   # trains once, for at most a minute or so on a core
net = load_or_train(directory, seed=1000, roots=["DIR"])   # on photographs of DIR/{train,test}/<class>/
net.cue_set, net.architecture, net.model    # model: fsjax.engine.model.Model
"""

import dataclasses
import functools
import hashlib
import pathlib
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from benchmarks.planted.photograph_sets import PhotographSet, make_photograph_set
from benchmarks.planted.verdict_sets import TRAINING, CueSet, make_cue_set
from fsjax.engine.model import Model
from fsjax.runtime import files

# Seed and images of a class; seeds are below 2^32, where training's begin, so that no image is drawn twice.
_SPLITS = {"train": (1, 60), "test": (2, 150)}
ARCHITECTURES = ("mlp", "cnn", "resnet", "vit")
_PHASE = {"mlp": "fixed", "cnn": None, "resnet": "triad", "vit": "fixed"}  # ways of locking that they learn
_STEPS = {"mlp": (800, 1600), "cnn": (600, 1200), "resnet": (600, 1200), "vit": (600, 1200)}
_PHOTOGRAPH_STEPS = {"mlp": 3000, "cnn": 2000, "resnet": 1200, "vit": 2000}
_LARGE, _LARGE_STEPS = 112, 600  # pixels, from which a step takes long
_RATE = {"mlp": 1e-3, "cnn": 2e-3, "resnet": 3e-3, "vit": 1e-3}
_BATCH = 64
_CHUNK, _PASSES = 16, 2  # batches drawn at once, and how often each is used before the next are drawn


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the benchmark; `model` and `seconds` (of one core, drawing included) are None untrained."""

    seed: int
    cue_set: CueSet | PhotographSet
    architecture: str
    steps: int
    model: Model | None = None
    seconds: float | None = None


def network(
    seed: int,
    roots: Sequence[str] = (),
    cache: str | None = None,
    kinds: Sequence[str] | None = None,
    size: int = 0,
) -> Network:
    """Draw the set, the architecture (in turn, so that consecutive seeds have them all) and the steps of a network.

    Args:
      seed: of the network.
      roots: folders of photographs; none: noise.
      cache: folder for decoded photographs.
      kinds: of the classes of photographs; None draws them.
      size: side of photographs, pixels; 0 draws it.
    """
    architecture = ARCHITECTURES[seed % len(ARCHITECTURES)]
    if roots:
        steps = _LARGE_STEPS if size >= _LARGE else _PHOTOGRAPH_STEPS[architecture]
        return Network(seed, make_photograph_set(seed, roots, cache, kinds, size), architecture, steps)
    rng = np.random.default_rng([seed, 1])
    return Network(
        seed, make_cue_set(seed, _PHASE[architecture]), architecture, int(rng.integers(*_STEPS[architecture]))
    )


def load_or_train(
    directory: str | pathlib.Path | None,
    seed: int,
    roots: Sequence[str] = (),
    kinds: Sequence[str] | None = None,
    size: int = 0,
) -> Network:
    """Return a trained network, from `directory` if it was trained there with the same set, architecture and steps.

    Without a directory the network is trained and not stored. `roots` are folders of photographs; without one the set
    is of noise. `kinds` and `size` are as for `network`.
    """
    planned = network(seed, roots, None if directory is None else str(directory), kinds, size)
    path = (
        None if directory is None else pathlib.Path(directory) / f"{'photographs' if roots else 'network'}-{seed}.npz"
    )
    shape = (planned.cue_set.size, planned.cue_set.size, planned.cue_set.channels)
    template = jax.eval_shape(lambda: initial(planned.architecture, shape, planned.cue_set.num_classes, _key(seed)))
    leaves, tree = jax.tree.flatten(template)
    if path and path.exists():
        stored = files.read_npz(path)
        if str(stored.pop("fingerprint")) == _fingerprint(planned):
            params = tree.unflatten([jnp.asarray(stored[f"leaf{i}"]) for i in range(len(leaves))])
            model = Model(APPLY[planned.architecture], params, shape)
            return dataclasses.replace(planned, model=model, seconds=float(stored["seconds"]))
    started = time.process_time()
    model = train(planned.cue_set, planned.architecture, seed, planned.steps)
    seconds = time.process_time() - started
    if path:
        arrays = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(model.params))}
        files.write_npz(path, fingerprint=np.array(_fingerprint(planned)), seconds=np.array(seconds), **arrays)
    return dataclasses.replace(planned, model=model, seconds=seconds)


def train(cue_set: CueSet | PhotographSet, architecture: str, seed: int, steps: int) -> Model:
    """Return a network trained by AdamW on images of all classes, each used twice."""
    shape = (cue_set.size, cue_set.size, cue_set.channels)
    params = initial(architecture, shape, cue_set.num_classes, _key(seed))
    schedule = optax.warmup_cosine_decay_schedule(0.0, _RATE[architecture], min(50, steps // 2), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params, state, images, labels):
        def loss(params):
            logits = APPLY[architecture](params, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for step in range(steps):
        turn = step % (_CHUNK * _PASSES)
        if turn == 0:
            labels = np.random.default_rng([seed, step]).integers(0, cue_set.num_classes, _CHUNK * _BATCH)
            images = cue_set.draw(labels, TRAINING + step)
        batch = slice(turn % _CHUNK * _BATCH, (turn % _CHUNK + 1) * _BATCH)
        params, state = update(params, state, images[batch], labels[batch])
    return Model(APPLY[architecture], params, shape)


def mlp(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, "n classes"]:
    """Two hidden layers on the pixels."""
    x = images.reshape(len(images), -1)
    for layer in params[:-1]:
        x = jax.nn.gelu(_dense(x, layer))
    return _dense(x, params[-1])


def cnn(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, "n classes"]:
    """Three convolutions of stride 2, then a linear layer on all positions."""
    x = images
    for layer in params[:-1]:
        x = jax.nn.relu(_conv(x, layer, 2))
    return _dense(x.reshape(len(x), -1), params[-1])


def resnet(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, "n classes"]:
    """Three residual blocks without normalisation, then the mean over positions.

    A branch is multiplied by a learned number that starts at 0 (SkipInit, De & Smith, NeurIPS 2020).
    """
    x = _conv(images, params["stem"], 4)
    for block in params["blocks"]:
        stride = 1 if block["skip"] is None else 2
        inside = jax.nn.relu(x)
        branch = _conv(jax.nn.relu(_conv(inside, block["first"], stride)), block["second"], 1)
        x = (x if block["skip"] is None else _conv(inside, block["skip"], 2)) + block["gain"] * branch
    return _dense(jax.nn.relu(x).mean((1, 2)), params["head"])


def vit(params: PyTree, images: Float[Array, "n height width channels"]) -> Float[Array, "n classes"]:
    """Two encoder blocks on patches of 4 or 8 pixels, then the mean over tokens; zeros fill up the last patches."""
    channels = images.shape[-1]
    patch = round((params["embed"]["kernel"].shape[0] / channels) ** 0.5)
    missing = -images.shape[1] % patch
    x = jnp.pad(images, ((0, 0), (0, missing), (0, missing), (0, 0)))
    side = x.shape[1] // patch
    x = x.reshape(len(x), side, patch, side, patch, channels).swapaxes(2, 3).reshape(len(x), side**2, -1)
    x = _dense(x, params["embed"]) + params["positions"]
    for block in params["blocks"]:
        queries, keys, values = jnp.split(_dense(_normalised(x), block["qkv"]), 3, axis=-1)
        heads = [z.reshape(*z.shape[:2], _HEADS, -1) for z in (queries, keys, values)]
        queries, keys, values = (z.swapaxes(1, 2) for z in heads)
        weights = jax.nn.softmax(queries @ keys.swapaxes(2, 3) * queries.shape[-1] ** -0.5)
        x = x + _dense((weights @ values).swapaxes(1, 2).reshape(x.shape), block["out"])
        x = x + _dense(jax.nn.relu(_dense(_normalised(x), block["up"])), block["down"])
    return _dense(_normalised(x).mean(1), params["head"])


APPLY = {"mlp": mlp, "cnn": cnn, "resnet": resnet, "vit": vit}
_HEADS = 4


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def initial(architecture: str, shape: tuple[int, int, int], classes: int, key: Array) -> PyTree:
    """Return initial parameters; biases and the last layer's kernel are 0 or small, as the architecture needs."""
    keys = iter(jax.random.split(key, 64))
    size, _, channels = shape

    def layer(*fans: int, gain: float = 2.0) -> dict:
        scale = np.sqrt(gain / np.prod(fans[:-1]))
        return {"kernel": scale * jax.random.normal(next(keys), fans), "bias": jnp.zeros(fans[-1])}

    if architecture == "mlp":
        return [layer(size * size * channels, 256), layer(256, 128), layer(128, classes, gain=1.0)]
    if architecture == "cnn":
        left = -(-size // 8)
        convolutions = [layer(5, 5, channels, 24), layer(3, 3, 24, 48), layer(3, 3, 48, 64)]
        return [*convolutions, layer(left * left * 64, classes, gain=1.0)]
    if architecture == "resnet":
        blocks = [
            {
                "first": layer(3, 3, inputs, outputs),
                "second": layer(3, 3, outputs, outputs),
                "skip": layer(1, 1, inputs, outputs) if inputs != outputs else None,
                "gain": jnp.zeros(()),
            }
            for inputs, outputs in ((32, 32), (32, 48), (48, 48))
        ]
        return {"stem": layer(7, 7, channels, 32), "blocks": blocks, "head": layer(48, classes, gain=1.0)}
    patch, width = 4 if size <= 25 else 8, 48
    tokens = (-(-size // patch)) ** 2
    return {
        "embed": layer(patch * patch * channels, width, gain=1.0),
        "positions": 0.02 * jax.random.normal(next(keys), (tokens, width)),
        "blocks": [
            {
                "qkv": layer(width, 3 * width, gain=1.0),
                "out": layer(width, width, gain=0.5),
                "up": layer(width, 2 * width),
                "down": layer(2 * width, width, gain=0.5),
            }
            for _ in range(2)
        ],
        "head": layer(width, classes, gain=1.0),
    }


def _key(seed: int) -> Array:
    return jax.random.key(seed % 2**32)  # seeds may be longer, as a SHA is


def _dense(x: Float[Array, "*n inputs"], layer: dict) -> Float[Array, "*n outputs"]:
    # One matrix product: XLA's gradients of products over several axes are slow on CPUs.
    flat = x.reshape(-1, x.shape[-1]) @ layer["kernel"] + layer["bias"]
    return flat.reshape(*x.shape[:-1], -1)


def _conv(x: Float[Array, "n height width inputs"], layer: dict, stride: int) -> Float[Array, "n rows columns outputs"]:
    around = (layer["kernel"].shape[0] // 2,) * 2
    dimensions = ("NHWC", "HWIO", "NHWC")
    convolved = jax.lax.conv_general_dilated(
        x, layer["kernel"], (stride, stride), (around, around), dimension_numbers=dimensions
    )
    return convolved + layer["bias"]


def _normalised(x: Float[Array, "*n width"]) -> Float[Array, "*n width"]:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)


def splits(network: Network) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images and labels of the splits train and test, which the network has not seen."""
    labels = {split: np.repeat(np.arange(network.cue_set.num_classes), count) for split, (_, count) in _SPLITS.items()}
    return {split: (network.cue_set.draw(labels[split], seed), labels[split]) for split, (seed, _) in _SPLITS.items()}


def _fingerprint(planned: Network) -> str:
    """Return a digest of what training depends on, so that a stored network of another version is not used."""
    said = repr((planned, _RATE, _BATCH, _CHUNK, _PASSES))
    return hashlib.sha256(said.encode()).hexdigest()
