"""Every function and class of the API reference has an example, and the examples give what they say."""

import doctest
import importlib
import inspect
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import yaml
from safetensors.numpy import save_file

import fsjax
from fsjax import models
from fsjax.models import state_dict
from tests.helpers.search_problem import make_problem

DOCS = pathlib.Path(__file__).parents[2] / "docs"
API = "".join(page.read_text() for page in sorted(DOCS.glob("api/*.md")))  # analyse.md is first: others use its results
PAGES = API + (DOCS / "contributing.md").read_text()
BLOCKS = "".join(re.findall(r"^```py.*?\n(.*?)^```", PAGES, re.DOTALL | re.MULTILINE))
SESSIONS = re.findall(r"^```pycon\n(.*?)^```", PAGES, re.DOTALL | re.MULTILINE)
NAMES = ("plain", "wave", "bright")


def listed():
    """Yield module, name and object of each function and class of these pages."""
    for path, options in re.findall(r"^::: (\S+)\n((?: .*\n)*)", API, re.MULTILINE):
        try:
            module, names = importlib.import_module(path), (yaml.safe_load(options) or {"options": {}})["options"]
        except ModuleNotFoundError:
            module, names = importlib.import_module(path.rpartition(".")[0]), {"members": [path.rpartition(".")[2]]}
        own = [name for name, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__]
        for name in names.get("members", [name for name in own if not name.startswith("_")]):
            if inspect.isclass(getattr(module, name)) or inspect.isroutine(inspect.unwrap(getattr(module, name))):
                yield module, name, getattr(module, name)


def images_of(seed, count=45):
    rng, labels = np.random.default_rng(seed), np.arange(count) % 3
    rows, columns = np.mgrid[:8, :8]
    waves = np.cos(2 * np.pi * (3 * rows + 2 * columns) / 8 + rng.uniform(0, 2 * np.pi, (count, 1, 1)))
    images = rng.normal(size=(count, 8, 8)) + 1.5 * waves * (labels == 1)[:, None, None]
    return (images + (labels == 2)[:, None, None])[..., None].astype(np.float32), labels


def model(images):
    wave = jnp.abs(jnp.fft.rfft2(images, axes=(1, 2))[:, 3, 2, 0]) / 32
    return jnp.stack([0.6 + 0 * wave, 1.2 * wave, 1.4 * images.mean((1, 2, 3))], axis=1)


def test_every_name_of_the_reference_has_an_example_and_all_examples_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = models.build("vit_nano_patch8", num_classes=10, image_size=24)
    save_file(state_dict.from_variables(network.init(0)), "vit.safetensors")
    shared = {"np": np, "jnp": jnp, "fsjax": fsjax, "model": model, "names": NAMES, "problem": make_problem(tmp_path)}
    shared |= dict(zip(("images", "labels", "test_images", "test_labels"), images_of(0) + images_of(1), strict=True))
    shared["as_model"] = importlib.import_module("fsjax.models.callables").as_model
    exec(re.search(r"^```python\n(.*?)^```", PAGES, re.DOTALL | re.MULTILINE)[1], {})
    said, texts, without = [], {}, []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for module, name, one in listed():
        for where, owner in ((module.__name__, module), (f"{module.__name__}.{name}", one)):
            if where not in texts:
                test = doctest.DocTestParser().get_doctest(owner.__doc__, vars(module) | shared, where, None, 0)
                texts[where] = "".join(example.source for example in test.examples)
                runner.run(test, out=said.append, clear_globs=False)
                shared |= {kept: test.globs[kept] for kept in ("train", "test", "maps", "result") if kept in test.globs}
        if not re.search(rf"\b{name}\b", texts[module.__name__] + texts[f"{module.__name__}.{name}"] + BLOCKS):
            without.append(f"{module.__name__}.{name}")
    for session in SESSIONS:
        runner.run(doctest.DocTestParser().get_doctest(session, dict(shared), "docs/api", None, 0), out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)
    assert not without
