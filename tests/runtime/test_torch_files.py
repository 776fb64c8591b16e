"""Untrusted files: numbers come back as PyTorch and pickle read them, and nothing in a file runs."""

import contextlib
import io
import os
import pathlib
import pickle
import warnings

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fsjax.runtime import torch_files
from fsjax.runtime.errors import InputError
from fsjax.runtime.torch_files import Inert
from tests.helpers.places import store
from tests.helpers.processes import python
from tests.helpers.refused import refused


def pickled(protocol):
    return lambda value, path: path.write_bytes(pickle.dumps(value, protocol=protocol))


WRITERS = {f"pickle{protocol}": pickled(protocol) for protocol in (0, 2, 3, 4, 5)} | {
    "zip": torch.save,
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_weights_of_a_store_are_read_as_those_of_a_disk(tmp_path, name):
    state = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    if name.endswith(".pt"):
        torch_files.write(tmp_path / name, state)
    else:
        save_file(state, tmp_path / name)
    place = store() / name
    place.write_bytes((tmp_path / name).read_bytes())
    np.testing.assert_array_equal(torch_files.read(place)["fc.weight"], state["fc.weight"])
    refused(r"^memory://.*: no such file", torch_files.read, place.parent / "nothing.pt")


@pytest.fixture(params=WRITERS)
def reread(request, tmp_path):
    """(value) -> what is read of a file with this value, in every form a file may have."""

    def write_and_read(value):
        WRITERS[request.param](value, tmp_path / "file")
        return torch_files.load(tmp_path / "file")

    return write_and_read


def tensors():
    plain = torch.arange(24.0).reshape(4, 6)
    found = {"plain": plain, "transposed part of the same numbers": plain.T[1:3], "bool": plain > 7}
    found |= {"parameter": torch.nn.Parameter(plain * 2), "half": plain.half(), "double": plain.double() / 3}
    found |= {"bfloat16": plain.bfloat16(), "long": plain.long() * 2**40, "byte": plain.byte()}
    return found | {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3)}


NOT_LEGACY = pytest.mark.parametrize("reread", [form for form in WRITERS if form != "legacy"], indirect=True)


@pytest.mark.parametrize(
    ("reread", "beside"),
    [(form, beside) for form in WRITERS for beside in (False, True) if not (beside and form == "legacy")],
    indirect=["reread"],
)
def test_tensors_come_back_as_arrays_also_beside_a_module(reread, beside):
    """With a module, `torch.load(weights_only=True)` refuses the file."""
    found = reread(tensors() | ({"module": torch.nn.Linear(1, 1)} if beside else {}))
    assert isinstance(found.pop("module"), Inert) if beside else found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        tensor = tensor.detach()
        kind = ml_dtypes.bfloat16 if name == "bfloat16" else tensor.numpy().dtype
        assert type(found[name]) is np.ndarray and found[name].dtype == kind, name
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.double().numpy(), err_msg=name)


@NOT_LEGACY
def test_arrays_and_nested_values_come_back_as_they_were(reread):
    value = {
        0: np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 2), np.float32),
        "nested": [[1, 2.5], (True, None, "naïve"), {"a": [-(10**30)]}],
        "number": np.float32(2.5),
    }
    found = reread(value)
    for name in (0, "fortran", "big-endian", "empty"):
        np.testing.assert_array_equal(found[name], value[name])
        assert found[name].shape == value[name].shape
    assert found["nested"] == value["nested"] and type(found["nested"][1]) is tuple
    assert found["number"] == 2.5


@NOT_LEGACY
def test_what_is_no_plain_number_is_inert(reread):
    value = {
        "module": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)),
        "objects": np.array(["a", None], object),
        "text": np.array(["abc"]),
        "path": pathlib.PurePosixPath("a"),
        "class": torch.nn.Linear,
        "sparse": torch.eye(3).to_sparse(),
        "kept": torch.ones(2),
    }
    found = reread(value)
    np.testing.assert_array_equal(found.pop("kept"), [1, 1])
    assert all(isinstance(part, Inert) for part in found.values())
    assert found["module"].name in ("torch.nn.modules.container.Sequential", "copy_reg._reconstructor")
    assert found["class"].name == "torch.nn.modules.linear.Linear"


def test_without_pytorch_its_files_are_refused_with_the_extra_and_numpy_s_are_read(tmp_path):
    for name, write in WRITERS.items():
        write({"a": torch.ones(2)}, tmp_path / f"{name}.pt")
    pickled(4)({"a": np.ones(2)}, tmp_path / "arrays.pkl")
    code = (
        "import pathlib, sys; sys.modules['torch'] = None\n"
        "from fsjax.runtime import torch_files\n"
        "print(torch_files.load(pathlib.Path(sys.argv[1]) / 'arrays.pkl')['a'].tolist())\n"
        "for file in sorted(pathlib.Path(sys.argv[1]).glob('*.pt')):\n"
        "    try: torch_files.load(file)\n"
        "    except ValueError as error: print(error)\n"
    )
    arrays, *refused = python(code, tmp_path).stdout.splitlines()
    assert arrays == "[1.0, 1.0]" and len(refused) == len(WRITERS)
    for line in refused:
        assert line.endswith("(PyTorch is not installed: pip install 'fsjax[torch]')")


# Hostile files


class Attack:
    """Pickles as a call; `build` is given to the result as its state."""

    def __init__(self, function, *arguments, build=None):
        self.reduced = (function, arguments) if build is None else (function, arguments, build)

    def __reduce__(self):
        return self.reduced


def attacks(marker):
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "system": Attack(os.system, f"touch {marker}"),
        "eval": Attack(eval, touch),
        "exec in a list": [1, {"a": Attack(exec, touch)}],
        "as state": Attack(torch.nn.Linear, 1, 1, build={"a": Attack(exec, touch)}),
        "a tensor's numbers": Attack(torch.storage._load_from_bytes, pickle.dumps(Attack(exec, touch))),
        "inside a file inside": Attack(torch.storage._load_from_bytes, legacy(Attack(exec, touch))),
        "a function given to PyTorch": Attack(torch._tensor._rebuild_from_type_v2, exec, object, (touch,), {}),
        "a dictionary of a class": Attack(dict, [("a", Attack(exec, touch))]),
    }


def legacy(value):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def ignoring_errors(read, *arguments, **fields):
    with contextlib.suppress(Exception):
        read(*arguments, **fields)


@pytest.mark.parametrize("form", ["pickle0", "pickle2", "pickle5", "zip", "legacy"])
@pytest.mark.parametrize("name", attacks(pathlib.Path("x")))
def test_nothing_in_a_file_runs(tmp_path, name, form):
    marker, path = tmp_path / "it-ran", tmp_path / "file"
    WRITERS[form](attacks(marker)[name], path)
    ignoring_errors(torch_files.load, path)
    assert not marker.exists()
    # The file is one that does run, where it is read without care.
    if form.startswith("pickle"):
        ignoring_errors(lambda: pickle.loads(path.read_bytes()))
    else:
        ignoring_errors(torch.load, path, weights_only=False)
    assert marker.exists()


def test_torchscript_nothing_and_nesting_without_end_are_refused(tmp_path):
    """`torch.load` would run `torch.jit.load` on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "file")
    refused("TorchScript", torch_files.load, tmp_path / "file")
    refused("no such file", torch_files.load, tmp_path / "none")
    endless = [1]
    endless.append(endless)
    nested = b"]" * 100_000 + b"a" * 100_000 + b"."
    for content in (nested, b"\x80\x05\x96" + (1 << 60).to_bytes(8, "little") + b".", pickle.dumps(endless)):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(InputError):
            torch_files.load(tmp_path / "file")


@pytest.mark.parametrize("name", ["_rebuild_parameter", "_rebuild_tensor_v2", "_load_from_bytes"])
def test_a_file_cannot_change_our_functions_and_unknown_globals_share_no_class(tmp_path, name):
    """BUILD sets attributes of whatever stands on the stack: here __name__ of the global itself."""
    before = torch_files._FUNCTIONS["torch", name]
    body = b"\x80\x02ctorch._utils\n" + name.encode() + b"\nN}X\x08\x00\x00\x00__name__X\x06\x00\x00\x00brokens\x86b."
    (tmp_path / "file").write_bytes(body)
    ignoring_errors(torch_files.load, tmp_path / "file")
    assert torch_files._FUNCTIONS["torch", name] is before and before.__name__ != "broken"
    (tmp_path / "file").write_bytes(pickle.dumps([torch.nn.Linear, torch.nn.Conv2d]))
    first, second = torch_files.load(tmp_path / "file")
    assert type(first) is not type(second) and type(first) is not Inert


# Damaged files


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_cut_anywhere_or_with_a_flipped_byte_is_read_or_refused_in_one_line(tmp_path, form):
    path = tmp_path / "file"
    WRITERS[form]({"a": torch.arange(40.0), "b": [1, 2]}, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.5 else whole)
        if damaged:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        try:
            torch_files.load(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
