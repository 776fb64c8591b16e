"""Measure the time and peak memory of reading PyTorch weights of ViT-B and ResNet-50, each in a separate process.

  python benchmarks/parity/weights.py    # both models, .pt with PyTorch and .safetensors without

Prints one JSON object a file. `seconds` is the time from the file to arrays ready for evaluation, BatchNorm folded.
`peak` is the peak memory (Linux's RssAnon, without the pages of mapped files) over the bytes of the weights, which are
random. Exit status 1 beyond 10 seconds or twice the bytes.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import timm
import torch
import torchvision

ROOT = pathlib.Path(__file__).parents[2]
# Our name -> (image size, function that makes PyTorch's model).
MODELS = {
    "vit_base_patch16": (224, lambda: timm.create_model("vit_base_patch16_224")),
    "resnet50_imagenet": (224, torchvision.models.resnet50),
}
# Run in a separate process, without the benchmark's own memory; the compiler is warm, as in a restarted run.
READ = """
import json, sys, time
path, name, size, installed = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
import torch
import jax
from benchmarks.common.memory import Peak, status
from fsjax import load_weights
if not installed:
    sys.modules["torch"] = None
jax.block_until_ready(jax.numpy.zeros(1))

before, peak = status("RssAnon"), Peak(0.002)
started = time.perf_counter()
logits_fn = load_weights(path, name, image_size=size)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": round(seconds, 2), "peak_bytes": peak.stop() - before}))
"""


def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, make) in MODELS.items():
            state = make().state_dict()
            total = sum(value.numel() * value.element_size() for value in state.values())
            paths = [pathlib.Path(folder) / f"{name}{suffix}" for suffix in (".pt", ".safetensors")]
            torch.save(state, paths[0])
            safetensors.torch.save_file(state, paths[1])
            for path in paths:
                cost = read(path, name, size, installed=path.suffix == ".pt")
                ratio = cost["peak_bytes"] / total
                failed |= cost["seconds"] > 10 or ratio > 2
                row = {"benchmark": "weights", "model": name, "file": path.suffix, "megabytes": round(total / 1e6)}
                print(json.dumps({**row, "seconds": cost["seconds"], "peak": round(ratio, 2)}), flush=True)
    return int(failed)


def read(path: pathlib.Path, name: str, size: int, installed: bool) -> dict:
    """Return the measurements of a fresh process."""
    command = [sys.executable, "-c", READ, str(path), name, str(size), str(installed)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
