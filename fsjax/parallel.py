"""Devices and processes: the only file that names them."""

import jax
import numpy as np
from jax.sharding import Mesh

# The one axis that batches (training) and perturbations (searching) are split over.
AXIS = "devices"


def local_devices() -> list[jax.Device]:
    """The devices this process computes on."""
    return jax.local_devices()


def mesh() -> Mesh:
    """This process's devices as a one-dimensional mesh over AXIS."""
    return Mesh(np.array(local_devices()), (AXIS,))


def process() -> tuple[int, int]:
    """Index of this process, and how many there are."""
    return jax.process_index(), jax.process_count()


def is_main_process() -> bool:
    """Whether this is the process that prints and writes the shared files."""
    return jax.process_index() == 0


def describe() -> str:
    """The accelerator in words, for logs and provenance: '8 x TPU v4' or '1 x cpu'."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}"
