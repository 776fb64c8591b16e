"""One process of a removal search, as tests start it: DIRECTORY OUTPUT [ADDRESS PROCESSES INDEX]."""

import functools
import pathlib
import sys

import jax
import numpy as np

if len(sys.argv) > 3:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))

import fsjax
from fsjax.models import Network
from fsjax.models.network import fold
from fsjax.models.resnet import BasicBlock, ResNet
from fsjax.runtime import parallel, progress

progress.LINE_SECONDS = 0
network = Network(
    functools.partial(ResNet, BasicBlock, (1, 1), (8, 16), imagenet_stem=False), 3, 24, np.dtype("float32")
)
apply, params = fold(network, network.init(0))
rng = np.random.default_rng(0)
maps = fsjax.dominant_frequencies(
    lambda images: apply(params, images),
    rng.normal(size=(75, 24, 24, 3)).astype(np.float32),
    np.repeat([0, 1, 2], [30, 25, 20]),
    directory=sys.argv[1],
    save_seconds=0,
    memory_mib=2,
)
if parallel.is_main_process():
    maps.save(pathlib.Path(sys.argv[2]))
