"""Files from others: numbers come back as PyTorch and pickle read them, and nothing in a file runs."""

import contextlib
import io
import os
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch

from fsjax.runtime import inert_pickle
from fsjax.runtime.errors import InputError
from fsjax.runtime.pickle_constructors import Inert

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def pickled(protocol):
    return lambda value, path: path.write_bytes(pickle.dumps(value, protocol=protocol))


WRITERS = {f"pickle{protocol}": pickled(protocol) for protocol in PROTOCOLS} | {
    "zip": torch.save,
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
}


@pytest.fixture(params=WRITERS)
def reread(request, tmp_path):
    """(value) -> what is read of a file with this value, in every form a file may have."""

    def write_and_read(value):
        WRITERS[request.param](value, tmp_path / "file")
        return inert_pickle.load(tmp_path / "file")

    return write_and_read


def tensors():
    plain = torch.arange(24.0).reshape(4, 6)
    return {
        "plain": plain,
        "transposed part of the same numbers": plain.T[1:3],
        "parameter": torch.nn.Parameter(plain * 2),
        "half": plain.half(),
        "double": plain.double() / 3,
        "bfloat16": plain.bfloat16(),
        "long": plain.long() * 2**40,
        "byte": plain.byte(),
        "bool": plain > 7,
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
    }


def test_tensors_come_back_as_arrays(reread):
    found = reread(tensors())
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        tensor = tensor.detach()
        kind = ml_dtypes.bfloat16 if name == "bfloat16" else tensor.numpy().dtype
        assert type(found[name]) is np.ndarray and found[name].dtype == kind, name
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.double().numpy(), err_msg=name)


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


def test_what_is_no_plain_number_is_inert(reread):
    value = {
        "module": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)),
        "objects": np.array(["a", None], object),
        "text": np.array(["abc"]),
        "path": pathlib.PurePosixPath("a"),
        "class": torch.nn.Linear,
        "kept": torch.ones(2),
    }
    found = reread(value)
    np.testing.assert_array_equal(found.pop("kept"), [1, 1])
    assert all(isinstance(part, Inert) for part in found.values())
    assert found["module"].name in ("torch.nn.modules.container.Sequential", "copy_reg._reconstructor")
    assert found["class"].name == "torch.nn.modules.linear.Linear"


def test_a_state_dict_with_its_metadata_is_a_dict_and_shares_its_numbers(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(300, 300))
    shared = {"a": model[0].weight, "b": model[0].weight}
    torch.save({"state_dict": model.state_dict(), "shared": shared}, tmp_path / "file")
    found = inert_pickle.load(tmp_path / "file")
    assert list(found["state_dict"]) == ["0.weight", "0.bias"]
    np.testing.assert_array_equal(found["state_dict"]["0.weight"], model[0].weight.detach().numpy())
    assert np.shares_memory(found["shared"]["a"], found["shared"]["b"])


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
    ignoring_errors(inert_pickle.load, path)
    assert not marker.exists()
    # The file is one that does run, where it is read without care.
    if form.startswith("pickle"):
        ignoring_errors(lambda: pickle.loads(path.read_bytes()))
    else:
        ignoring_errors(torch.load, path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("name", ["_rebuild_parameter", "_rebuild_tensor_v2", "_load_from_bytes", "Size"])
def test_a_file_cannot_change_our_constructors(tmp_path, name):
    """BUILD sets attributes of whatever stands on the stack: here __name__ of the global itself."""
    before = inert_pickle._KNOWN["torch"][name]
    attributes = dict(vars(before))
    body = b"\x80\x02ctorch._utils\n" + name.encode() + b"\nN}X\x08\x00\x00\x00__name__X\x06\x00\x00\x00brokens\x86b."
    (tmp_path / "file").write_bytes(body)
    ignoring_errors(inert_pickle.load, tmp_path / "file")
    assert inert_pickle._KNOWN["torch"][name] is before and dict(vars(before)) == attributes
    assert before.__name__ != "broken"


def test_two_unknown_globals_share_no_class(tmp_path):
    (tmp_path / "file").write_bytes(pickle.dumps([torch.nn.Linear, torch.nn.Conv2d]))
    first, second = inert_pickle.load(tmp_path / "file")
    assert type(first) is not type(second) and type(first) is not Inert


# Damaged files


def test_a_tensor_beyond_its_numbers_is_refused(tmp_path):
    tensor = torch.arange(4.0)
    for size, stride, offset in [
        ((5,), (1,), 0),
        ((2,), (4,), 0),
        ((2,), (1,), 3),
        ((1 << 40,), (0,), 0),
        ((2,), (-1,), 3),
    ]:
        arguments = (tensor.untyped_storage(), offset, size, stride)
        storage = Attack(torch.storage._load_from_bytes, legacy(tensor.storage()))
        path = tmp_path / "file"
        path.write_bytes(pickle.dumps(Attack(torch._utils._rebuild_tensor_v2, storage, *arguments[1:], False, {})))
        with pytest.raises(InputError, match="reaches beyond its 4 numbers"):
            inert_pickle.load(path)


def test_compressed_numbers_are_refused(tmp_path):
    """A few kilobytes may unpack to gigabytes."""
    torch.save({"a": torch.zeros(1000)}, tmp_path / "plain")
    with (
        zipfile.ZipFile(tmp_path / "plain") as plain,
        zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(InputError, match="is compressed"):
        inert_pickle.load(tmp_path / "file")


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_cut_anywhere_or_with_a_flipped_byte_is_read_or_refused_in_one_line(tmp_path, form):
    path = tmp_path / "file"
    WRITERS[form]({"a": torch.arange(40.0), "b": [np.arange(3)]}, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.5 else whole)
        if damaged:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        try:
            inert_pickle.load(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_nothing_there_and_nesting_without_end_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        inert_pickle.load(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"]" * 100_000 + b"a" * 100_000 + b".")
    with pytest.raises(InputError):
        inert_pickle.load(tmp_path / "file")


def test_a_list_that_holds_itself_ends(tmp_path):
    endless = [1]
    endless.append(endless)
    (tmp_path / "file").write_bytes(pickle.dumps(endless))
    found = inert_pickle.load(tmp_path / "file")
    assert found[0] == 1 and isinstance(found[1], Inert)
