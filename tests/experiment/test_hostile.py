"""Untrusted files: nothing in them runs, writes, fills the memory, or becomes a part of a page."""

import contextlib
import io
import json
import os
import pickle
import re
import struct
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import fsjax
from configs import common
from fsjax import data
from fsjax.data.dataset import ArrayDataset
from fsjax.data.source import choose_classes
from fsjax.engine.model import Model
from fsjax.evaluation import band_dynamics
from fsjax.evaluation.band_dynamics import Dynamics
from fsjax.evaluation.comparison import compare_maps
from fsjax.evaluation.ood import mapping, sets
from fsjax.evaluation.ood.results import OodResult
from fsjax.evaluation.results import Recovery, Reliance
from fsjax.experiment import study_tables
from fsjax.experiment.stages import compare
from fsjax.experiment.study_tables import Cell, Outcome
from fsjax.fourier import dfm, published_maps
from fsjax.report import dynamics as dynamics_page
from fsjax.report import page
from fsjax.runtime import files, image_files, torch_files
from fsjax.runtime.image_files import decode
from tests.helpers import html_page, results
from tests.helpers.refused import refused

READERS = {
    "npz": files.read_npz,
    "npy": files.map_npy,
    "json": files.read_json,
    "dfm": dfm.DominantFrequencyMaps.load,
    "maps": lambda path: published_maps.read_maps(path, classes=None, shares=(0.05,)),
    "order": published_maps.read_order,
    "weights": torch_files.read,
    "image": lambda path: image_files.decode(path, str(path)),
}


def listing(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


# Files that would run code


class Attack:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def npy_of(value):
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], object), allow_pickle=True)
    return buffer.getvalue()


def npz_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


CODE = {
    "maps.pkl": ("maps", lambda canary: pickle.dumps({0: Attack(canary)})),
    "order.pkl": ("order", lambda canary: pickle.dumps([Attack(canary)])),
    "weights.pt": ("weights", lambda canary: saved({"a": Attack(canary), "b": torch.ones(1)})),
    "weights.ckpt": ("weights", lambda canary: pickle.dumps({"state_dict": Attack(canary)})),
    "scores.npz": ("npz", lambda canary: npz_of(scores=npy_of(Attack(canary)))),
    "maps.npz": ("dfm", lambda canary: npz_of(masks=npy_of(Attack(canary)), about=npy_of(Attack(canary)))),
    "order.npy": ("order", lambda canary: npy_of(Attack(canary))),
    "mask.npy": ("npy", lambda canary: npy_of(Attack(canary))),
}


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", CODE)
def test_nothing_in_a_file_runs_by_any_door(tmp_path, name):
    canary, file = tmp_path / "it-ran", tmp_path / name
    reader, content = CODE[name]
    file.write_bytes(content(canary))
    before = listing(tmp_path)
    refused(re.escape(str(file)), READERS[reader], file)
    assert listing(tmp_path) == before
    # The file is one that does run where it is read without care.
    stored = file.read_bytes()
    if name.endswith((".pt", ".npz")):
        with zipfile.ZipFile(file) as archive:
            (inner, *_) = (one for one in archive.namelist() if one.endswith(("data.pkl", ".npy")))
            stored = archive.read(inner)
    ignore = (pickle.UnpicklingError, AttributeError, TypeError, IndexError)
    with contextlib.suppress(ignore):
        np.load(io.BytesIO(stored), allow_pickle=True) if b"NUMPY" in stored[:8] else Unsafe(io.BytesIO(stored)).load()
    assert canary.exists()


class Unsafe(pickle.Unpickler):
    def persistent_load(self, identity):
        return torch.UntypedStorage(4)


# Files that are not what they say, or would become gigabytes


def npy_header(shape, code="<f4"):
    text = f"{{'descr': '{code}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def safetensors(header):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(256)


def maps_npz(about=None, **changes):
    """The file of maps of two classes at 8 x 8, with parts of it replaced."""
    told = {"method": "removal", "searched_on": "train", "forward_equivalents": 1, "provenance": {}}
    arrays = {"shares": np.array([0.05]), "classes": np.array(["a", "b"]), "images": np.array([1, 1])}
    arrays |= {"masks": np.zeros((1, 2, 8, 1), np.uint8), "scores": np.zeros((2, 8, 8), np.float32)}
    told = about if isinstance(about, str) else json.dumps(told | (about or {}))
    arrays |= {"plane": np.array([8, 8]), "about": np.array(told)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **(arrays | changes))
    return buffer.getvalue()


def png(width, height, pixels=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def encoded(kind, size=(64, 64), **fields):
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, kind, **fields)
    return buffer.getvalue()


def images():
    return {
        "a PNG of 60,000 x 60,000": png(60_000, 60_000),
        "a JPEG that is cut off": encoded("JPEG")[:1000],
        "a picture of another kind": encoded("TIFF"),
        "a page in place of a picture": b"<html>",
    }


def tensor(kind="F32", shape=(64,), place=(0, 256)):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(place)}


BROKEN = {
    "header that is cut off": ("npz", npz_of(a=npy_header("(8,)")[:-20])),
    "control characters in a name": ("npz", npz_of(**{"\x1b[2J\na": npy_header("(1,)") + bytes(9)})),
    "no archive": ("npz", npy_header("(1,)") + bytes(4)),
    "archive cut off": ("dfm", maps_npz()[:-90]),
    "bit flipped": ("dfm", maps_npz()[:200] + bytes([maps_npz()[200] ^ 8]) + maps_npz()[201:]),
    "other arrays": ("dfm", npz_of(masks=npy_header("(3,)") + bytes(12))),
    "mapped header of 10^12 numbers": ("npy", npy_header("(1000000000000,)") + bytes(64)),
    "mapped objects": ("npy", npy_of(0)),
    "plane wider than its bytes": ("dfm", maps_npz(plane=np.array([8, 10**10]))),
    "weights outside": ("weights", safetensors({"a": tensor(place=(10**6, 10**6 + 256))})),
    "numbers that NumPy has not": ("weights", safetensors({"a": tensor("F8_E4M3", (256,))})),
    "lists in lists of JSON": ("json", b"[" * 1_000_000),
    "digits": ("json", b"[1" + b"0" * 1_000_000 + b"]"),
    "infinity": ("json", b'{"a": 1e999}'),
    "not a number": ("json", b'{"a": NaN}'),
    **{name: ("image", content) for name, content in images().items()},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_not_what_it_says_is_refused_in_one_line(tmp_path, name):
    reader, content = BROKEN[name]
    file = tmp_path / ("file.safetensors" if reader == "weights" else f"file.{reader}")
    file.write_bytes(content)
    said = refused(".", READERS[reader], file)
    assert str(file) in said and "MemoryError" not in said and "allocate" not in said


def test_a_picture_of_30_million_pixels_is_read(tmp_path):
    (tmp_path / "large.png").write_bytes(png(6000, 5000, bytes(5000 * (1 + 3 * 6000))))
    assert decode(tmp_path / "large.png", "large").size == (6000, 5000)


# Numbers and texts of the wrong kind


WRONG_MAPS = {
    "a method with a path": {"about": {"method": "../../removal"}},
    "a method that is a number": {"about": {"method": 3}},
    "a count in words": {"about": {"forward_equivalents": "<script>"}},
    "provenance in a list": {"about": {"provenance": []}},
    "a field too many": {"about": {"more": 1}},
    "no JSON": {"about": "{"},
    "JSON of a list": {"about": "[]"},
    "classes of numbers": {"classes": np.array([1, 2])},
    "shares too many": {"shares": np.array([0.05, 0.1])},
    "a share of 7": {"shares": np.array([7.0])},
    "a share that is no number": {"shares": np.array([np.nan])},
    "scores of another size": {"scores": np.zeros((2, 9, 8), np.float32)},
    "masks of another shape": {"masks": np.zeros((2, 8, 1), np.uint8)},
    "masks that are no bits": {"masks": np.zeros((1, 2, 8, 1), np.float32)},
    "no plane": {"plane": np.zeros(0, int)},
}


@pytest.mark.parametrize("name", WRONG_MAPS)
def test_maps_whose_parts_do_not_fit_are_refused(tmp_path, name):
    file = tmp_path / "removal.npz"
    file.write_bytes(maps_npz())
    assert dfm.DominantFrequencyMaps.load(file).classes == ("a", "b")
    file.write_bytes(maps_npz(**WRONG_MAPS[name]))
    refused(f"^{file}: ", dfm.DominantFrequencyMaps.load, file)


def test_json_that_was_changed_by_hand_needs_no_checksum(tmp_path):
    file = tmp_path / "evaluation.json"
    files.write_json(file, {"classes": ["a", "b"]})
    file.write_text(file.read_text().replace('"b"', '"c"'))
    refused(f"^{file}: damaged, or changed by hand", files.read_json, file)
    file.write_text('{"classes": ["a", "c"]}')
    assert files.read_json(file) == {"classes": ["a", "c"]}


def test_a_mapping_of_folders_makes_nothing(tmp_path):
    file = tmp_path / "m.yaml"
    file.write_text(f"layout: !!python/object/apply:os.system ['touch {tmp_path}/it-ran']\nclasses: same")
    refused(re.escape(str(file)), mapping.read, file)
    assert list(tmp_path.iterdir()) == [file]
    for name in ("../../etc/passwd", "/etc/passwd", "..", "a" * 5000, "\0", "<script>"):
        file = sets.file_name(name)
        assert re.fullmatch(r"[\w-]{1,60}", file)


@pytest.mark.parametrize("share", ["0.05", None, [0.05], 7, float("1e300")])
def test_a_config_with_a_field_of_another_kind_is_refused(tmp_path, share):
    hostile_maps().save(dfm.file_in(tmp_path, "removal"))
    results.write(tmp_path, judged())
    for report in ({"share": share}, {}, "none"):
        files.write_json(tmp_path / "config.json", {"report": report, "evaluate": {"threshold": 0.6}})
        refused(f"^{tmp_path}/config.json: report.share: got ", fsjax.load_result, tmp_path)


# Names


BAD_NAMES = ["a\nb", "a\x00b", "\x1b]0;title\x07", "caf\udce9", "\u202egnp.exe", "a" * 256, "", "a\u2028b", "\x7f"]
ODD_NAMES = ["../../../etc", "/etc/passwd", "<script>alert(1)</script>", "a'b\"c", "$x^{$", "-rf"]
ODD_NAMES += ["نمر", "虎 の 子", "a" * 255]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_is_no_line_of_text_is_refused_in_one(name):
    said = refused(".", choose_classes, "", ["cat", name], "folder x")
    assert said.startswith("folder x: class name ") and "data.classes=" in said
    assert said.isascii() and said.isprintable()
    assert choose_classes("cat", ["cat", name], "folder x").display == ("cat",)
    assert choose_classes("", ODD_NAMES, "folder x").display == tuple(ODD_NAMES), "odd names are kept as they are"


def test_a_folder_whose_name_is_no_utf8_is_refused_or_renamed(tmp_path):
    for split in ("train", "test"):
        for name in (b"cat", b"caf\xe9"):
            folder = os.path.join(os.fsencode(tmp_path), split.encode(), name)
            os.makedirs(folder)
            with open(os.path.join(folder, b"0.png"), "wb") as file:
                file.write(encoded("PNG"))
    config = common.base().data
    config.source, config.root, config.mean, config.std = "folder", str(tmp_path), (0.5,) * 3, (0.5,) * 3
    refused(re.escape("class name 'caf\\udce9'; expected"), data.load, config, "test", 0)
    config.classes = "cat,caf\udce9=coffee"
    assert data.load(config, "test", 0).classes == ("cat", "coffee")


# Pages

NAME = "\"><script>alert(1)</script>'<img src=x onerror=alert(2)>&amp;$x^{$../../etc {{1337*1337}}"
NAMES = (NAME, "b")
_TAGS = re.compile(
    "html|head|meta|title|style|body|h[1234]|p|strong|em|i|span|img|div|table|t[rhd]|thead|tbody|ul|"
    "li|pre|a|details|summary|article|section|figure|figcaption|picture|source|canvas|svg|noscript|button|label|select|option|"
    "input|output|script|dl|dt|dd|br"
)
_ATTRIBUTES = re.compile(
    "lang|charset|name|content|class|src|srcset|media|alt|rowspan|colspan|href|style|id|hidden|role|tabindex|type|min|max|value|step|"
    "scope|http-equiv|viewbox|title|(data|aria)-[a-z-]+"
)


class Page(html_page.Page):
    """Fails where a page has an element or an attribute that no template of ours has."""

    def handle_starttag(self, tag, attributes):
        super().handle_starttag(tag, attributes)
        assert _TAGS.fullmatch(tag), tag
        for name, value in attributes:
            assert _ATTRIBUTES.fullmatch(name), name
            assert name not in ("src", "srcset") or value.startswith("data:image/webp;base64,")
            assert name != "href" or re.fullmatch(
                r"\.\./[\w%.-]+/report/index\.html|[\w%]+/index\.html|#(class-\d+|table|rule|grafts)", value
            )


def outside(folder, inner):
    return {path for path in listing(folder) if not path.startswith(str(inner))}


@pytest.fixture
def workspace(tmp_path):
    """A workdir with a hostile name, which is all that may change."""
    directory = tmp_path / "parent" / NAME.replace("/", "∕")
    directory.mkdir(parents=True)
    before = outside(tmp_path, directory)
    yield directory
    assert outside(tmp_path, directory) == before


def hostile_maps():
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(2, 8, 8)).astype(np.float32)
    planes += np.roll(planes[:, ::-1, ::-1], 1, (1, 2))
    provenance = {"fsjax": NAME, "jax": NAME, "imported": {"path": NAME, "sha256": NAME, "method": NAME}}
    provenance |= {"file": {"path": NAME, "sha256": NAME}}
    return results.maps(planes, (0.05, 0.25), NAMES, provenance=provenance)


def judged():
    """An evaluation with verdicts and planted truth."""
    interval = [[0.8, 1.0], [0.0, 0.2]]
    rates = {"tpr": [0.9, 0.1], "fpr": [0.1, 0.1], "tpr_ci": interval}
    grafts = results.grafts(NAMES, ("shortcut by phase", "spread"), smallest=[0.01, None])
    shares = {0.05: results.map_rates(**rates), 0.25: results.map_rates(**rates)}
    method = results.method(shares, planted={NAME: Recovery(2, 1, 0.5, 0.5, 0.5, 0.1)}, grafts=grafts)
    planted = {NAME: Reliance(True, 0.1, 0.9)}
    return results.evaluation(NAMES, {"removal": method}, images=2, planted=planted)


def out_of_distribution():
    """Results of a set with hostile names, without controls."""
    rates = {"tpr": [0.9, 0.1], "tpr_ci": [[0.8, 1.0], [0.0, 0.2]], "others": [2, 2]}
    rates |= {"fpr": [0.1, 0.1], "fpr_ci": [[0.0, 0.2], [0.0, 0.2]]}
    point = {"classes": 1, "share": 0.5, "filtered": 0.5, "unfiltered": 0.5}
    curve = [{"threshold": step / 10, "shortcut": point, "other": point} for step in range(1, 10)]
    own = {"images": [2, 2], "accuracy": 0.5, "unfiltered": rates, "filtered": rates, "average_tpr": curve}
    own |= {"controls": None}
    one = own | {"restricted": True, "made_of": {"attack": NAME, "fields": {"repeated": True}}}
    one |= {"groups": {NAME: {NAME: own}}}
    found = {"version": OodResult.version, "classes": list(NAMES), "share": 0.05, "threshold": 0.6}
    return found | {"random_masks": 0, "searched_on": "train", "in_distribution": own, "sets": {NAME: one}}


def test_the_report_shows_names_as_text(workspace, undrawn):
    noise = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    maps, test = hostile_maps(), ArrayDataset(noise, np.array([0, 0, 1, 1]), NAMES)
    results.write(workspace, judged())
    files.write_json(workspace / "command.json", ["python", NAME])
    files.write_json(workspace / "stages" / "train.json", {"seconds": 1.0, "devices": NAME})
    offered = {"adcs": np.zeros((2, 8, 8), int), "classes": np.array(NAMES), "images": np.array([2, 2])}
    files.write_npz(workspace / "adcs.npz", **offered, compat=np.array(False), split=np.array(NAME))
    waves = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    disturbed = {"error": waves[0], "class_error": waves, "clean_error": np.array([0.1, 0.2])}
    files.write_npz(workspace / "heat_map.npz", **disturbed, images=np.array([2, 2]), norm=np.array(4.0))
    files.write_json(workspace / "ood" / "removal.json", out_of_distribution())
    config = common.base()
    config.search.shares, config.data.image_size, config.model.name = (0.05, 0.25), 8, NAME
    config.data.root = NAME
    mean_std = (np.full(3, 0.5), np.full(3, 0.5))
    classifier = Model(lambda params, images: images[:, 0, :3, 0], {}, (8, 8, 3), NAMES, mean_std)
    page.write(config, workspace, classifier, maps, test)
    shown = Page((workspace / "report" / "removal" / "index.html").read_text())
    sentences = f"Which frequencies does {NAME} lean on?", f"These maps were imported from {NAME}"
    sentences += f"{NAME}: the model uses its planted", f"{NAME}: accuracy 0.500"
    sentences += f"are ignored on {NAME}", f"over 4 {NAME} images"
    assert all(sentence in " ".join(shown.text.split()) for sentence in sentences)
    assert any(text.startswith(f"Map of {NAME} at 5 % of the plane: the") for text in shown.alternatives)
    # What the script reads is data, and the scripts are ours, whatever the names are.
    values, *ours = shown.scripts
    assert json.loads(values)["names"] == list(NAMES) and "<" not in values
    assert [len(ours), *(NAME[:9] in script for script in ours)] == [2, False, False]
    assert "1787569" not in shown.text
    figures = [file.name for file in (workspace / "report" / "removal" / "figures").iterdir()]
    assert all(re.fullmatch(r"[a-z_0-9-]+\.(png|pdf)", name) for name in figures) and len(figures) >= 18


def test_the_pages_of_a_comparison_a_study_and_of_learning_show_names_as_text(workspace, undrawn):
    left, right = hostile_maps(), hostile_maps()
    comparison, masks = compare_maps(left, right, (0.05, 0.25), 0.05, seed=0)
    compare.write_page(workspace, comparison | {"classes": NAMES, "masks": NAME}, masks)
    config = common.base()
    cells = [Cell(NAME, NAME, seed, workspace / NAME.replace("/", "∕"), config) for seed in (0, 1)]
    table = pd.DataFrame({"class": NAMES, "TPR": 1.0, "psi": 1.0})
    outcomes = [Outcome(cell, left.at(0.05), table) for cell in cells]
    (cells[0].directory / "report").mkdir(parents=True)
    (cells[0].directory / "report" / "index.html").write_text("")
    tables = dict.fromkeys(("summary", "classes"), pd.DataFrame({NAME: [NAME], "TPR": [0.5]}))
    study_tables.write_page(config, workspace, outcomes, tables)
    confusion = np.tile(np.array([[3, 1], [1, 3]]), (1, 2, 2, 1, 1))
    found = Dynamics(NAMES, (band_dynamics.ORIGINAL, "12"), (0,), np.array([5, 10]), confusion)
    dynamics_page.write(workspace, found, found.summary())
    for name in ("compare", "study", "dynamics"):
        assert NAME in Page((workspace / "report" / f"{name}.html").read_text()).text, name
