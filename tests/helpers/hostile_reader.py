"""Reads files, one line 'reader path' of standard input each, and says what each read cost and what was said of it.

A process of its own, with a limit: what a reader that is broken would take does not fill the machine.
"""

import json
import pathlib
import resource
import sys

from fsjax.fourier import published_maps
from fsjax.fourier.dfm import DominantFrequencyMaps
from fsjax.runtime import files, image_files, torch_files
from fsjax.runtime.errors import InputError

READERS = {
    "npz": files.read_npz,
    "npy": files.map_npy,
    "json": files.read_json,
    "dfm": DominantFrequencyMaps.load,
    "maps": lambda path: published_maps.read_maps(path, classes=None, shares=(0.05,)),
    "order": published_maps.read_order,
    "weights": torch_files.read,
    "image": lambda path: image_files.decode(path, str(path)),
}


def status(field):
    """A value of /proc/self/status, in MiB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) >> 10


def main():
    limit = (status("VmSize") + 4096) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        reader, path = line.split()
        before, said = status("VmRSS"), None
        try:
            READERS[reader](pathlib.Path(path))
        except InputError as error:
            said = str(error)
        print(json.dumps({"path": path, "said": said, "mib": status("VmHWM") - before}), flush=True)


if __name__ == "__main__":
    main()
