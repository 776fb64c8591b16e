"""Results that are loaded, the page over several runs, and the page over a workdir's search methods."""

import html.parser
import logging
import os
import re
import shutil
import urllib.parse

import numpy as np
import pytest
from upath import UPath

import fsjax
from benchmarks.cost import report_workdir
from configs import common
from configs import runs as runs_config
from fsjax.evaluation.results import Evaluation, read_evaluation
from fsjax.experiment import runner
from fsjax.fourier import dfm
from fsjax.report import indexes, pictures
from fsjax.runtime import files, storage
from fsjax.runtime.errors import InputError
from tests.helpers import results
from tests.helpers.html_page import Page

NAMES = ("cat", "<script>alert(1)</script>", "dog")
HEADINGS = "run,model,data,accuracy,method,share,classes,shortcuts,mean psi,median smallest share,TPR above threshold"
HEADINGS += ",mean TPR,mean FPR,stability"


_IOU = {name: [[0.5, None, 0.75]] for name in ("mean", "low", "high")}


def make_run(directory, method="removal", tpr=(0.9, 0.5, 0.61), grafted=True, **config):
    """A workdir as a run leaves it, without its model."""
    rng = np.random.default_rng(len(method))
    maps = dfm.from_scores(
        rng.normal(size=(3, 8, 8)).astype(np.float32),
        (0.05, 0.25),
        classes=NAMES,
        method=method,
        searched_on="train",
        images=np.array([4, 4, 4]),
        forward_equivalents=1234,
        provenance={"stability": {"resamples": 2, "shares": [0.25], "iou": _IOU}},
    )
    maps.save(directory / "dfm" / f"{method}.npz")
    rates, grafts = results.map_rates(tpr, [0.2, None, 0.1]), None
    if grafted:
        measured = {"share": 0.25, "psi": [0.75, None, 0.25], "smallest": [0.004, 0.02, None]}
        grafts = results.grafts(NAMES, ("shortcut by phase", "undecided", "spread"), **measured)
    of_method = results.method({0.05: results.map_rates([0.0] * 3), 0.25: rates}, grafts=grafts)
    before = read_evaluation(directory / "evaluation.json")
    methods = {**(before.methods if before else {}), method: of_method}
    plain = results.unfiltered([0.8] * 3, accuracy=0.75)
    results.write(directory, results.evaluation(NAMES, methods, of_images=plain))
    fields = {
        "stages": "train,search",
        "data": {"source": "synthetic", "name": "syn2", "root": ""},
        "model": {"name": "resnet20"},
        "report": {"share": 0.2},
        "evaluate": {"threshold": 0.6},
        **config,
    }
    files.write_json(directory / "config.json", fields)
    return maps


class Table(html.parser.HTMLParser):
    """The cells of a page's rows, as text, value and links, and all of its tags."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.pictures = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append({"text": "", "value": attrs.get("data-value"), "link": None, "maps": []})
        elif tag == "a":
            self.rows[-1][-1]["link"] = attrs["href"]
        elif tag == "img":
            self.rows[-1][-1]["maps"].append((attrs["alt"], attrs["src"]))

    def handle_data(self, data):
        if self.rows and self.rows[-1] and self.lasttag != "script":
            self.rows[-1][-1]["text"] += data.replace("\n", "")


@pytest.fixture
def page(tmp_path):
    def write(text):
        indexes.write_runs(tmp_path / "index", text)
        return Table((tmp_path / "index" / "report" / "runs.html").read_text())

    return write


def test_a_result_is_what_the_run_left(tmp_path):
    maps = make_run(tmp_path)
    result = fsjax.load_result(str(tmp_path))
    assert result.method == "removal" and result.classes == NAMES and result.directory == tmp_path
    np.testing.assert_array_equal(result.maps.masks, maps.masks)
    assert result.rates(0.25).tpr.tolist() == [0.9, 0.5, 0.61]
    assert result.evaluation.methods["removal"].at(0.25) is result.rates(0.25)
    assert result.config["model"] == {"name": "resnet20"} and result.planted is None
    fixed, raised = np.zeros((2, 3, 8, 8), bool)
    fixed[0, 1, 2] = raised[2, 3, 3] = True
    files.write_npz(tmp_path / "planted.npz", fixed=fixed, any=raised)
    assert np.argwhere(fsjax.load_result(tmp_path).planted).tolist() == [[0, 1, 2], [2, 3, 3]]
    with pytest.raises(AttributeError):
        result.method = "other"


def test_of_several_methods_one_has_to_be_named(tmp_path):
    make_run(tmp_path), make_run(tmp_path, "learned")
    with pytest.raises(InputError, match=r"^method: got nothing; expected one of learned, removal, which have"):
        fsjax.load_result(tmp_path)
    assert fsjax.load_result(tmp_path, "learned").maps.method == "learned"
    with pytest.raises(InputError, match=r"^method: got 'greedy'; expected one of learned, removal, which have"):
        fsjax.load_result(tmp_path, "greedy")


def test_a_workdir_without_a_result_says_which_stage_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"^workdir: got .*, which has no maps; expected a folder where the"):
        fsjax.load_result(tmp_path)
    make_run(tmp_path)
    evaluation = files.read_json(tmp_path / "evaluation.json")
    files.write_json(tmp_path / "evaluation.json", {**evaluation, "classes": ["x", "y", "z"]})
    with pytest.raises(InputError, match=r"evaluation.json has other classes than dfm/removal.npz"):
        fsjax.load_result(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(InputError, match=r"evaluation.json: no results of removal; run the stage evaluate first"):
        fsjax.load_result(tmp_path)


def test_a_result_in_a_store_is_read_and_listed(tmp_path, page):
    store = storage.path("memory://results/runs")
    maps = make_run(store / "far")
    np.testing.assert_array_equal(fsjax.load_result("memory://results/runs/far").maps.masks, maps.masks)
    files.write_text(store / "far" / "report" / "removal" / "index.html", "")
    (row,) = page("memory://results/runs").rows[1:]
    assert row[0]["text"].strip().startswith("far") and row[3]["text"] == "0.750"
    assert row[0]["link"] is None, "a page on a disk has no way into a store"
    indexes.write_runs(store / "index", "memory://results/runs")
    assert 'href="../../far/report/removal/index.html"' in (store / "index" / "report" / "runs.html").read_text()
    other = UPath("memory://results/runs/far/report/removal/index.html", account="of somebody else")
    assert indexes._relative(other, store / "index" / "report") is None


def test_a_row_has_the_numbers_of_its_run_at_the_share_that_it_reports(tmp_path, page):
    maps = make_run(tmp_path / "a#1 & 5%25")
    make_run(tmp_path / "a#1 & 5%25", "learned", tpr=(0.9, None, None), grafted=False)
    files.write_text(tmp_path / "a#1 & 5%25" / "report" / "removal" / "index.html", "here")
    head, learned, removal = page(str(tmp_path)).rows
    assert [cell["text"] for cell in head][:14] == HEADINGS.split(",")
    assert [cell["text"] for cell in removal[1:8]] == ["resnet20", "syn2", "0.750", "removal", "25 %", "3", "1"]
    assert removal[9]["text"] == "2 %" and removal[10]["text"] == "2 > 0.6"
    assert [float(cell["value"]) for cell in removal[8:13]] == pytest.approx([0.5, 0.02, 2, 0.67, 0.15])
    assert [float(cell["value"]) for cell in removal[13:15]] == pytest.approx([0.625, 1234])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", removal[15]["text"])
    assert [cell["text"] for cell in learned[7:12]] == ["–", "–", "–", "1 > 0.6", "0.900"] and learned[7]["value"] == ""
    linked = os.path.join(tmp_path / "index" / "report", urllib.parse.unquote(removal[0]["link"]))
    with open(linked) as file:
        assert file.read() == "here"
    assert learned[0]["link"] is None
    assert [alt for alt, _ in removal[0]["maps"]] == [f"Map of {name}" for name in NAMES]
    for mask, (_, picture) in zip(maps.at(0.25), removal[0]["maps"], strict=True):
        assert picture == pictures.mask_picture(mask)


def test_a_median_of_smallest_shares_is_missing_where_half_of_the_classes_reach_none():
    assert indexes._median(np.array([0.5, 0.125, 0.25])) == 0.25
    assert indexes._median(np.array([0.125, np.nan, 0.25])) == 0.25
    assert indexes._median(np.array([0.125, np.nan])) is indexes._median(np.full(3, np.nan)) is None


def test_a_folder_of_images_is_named_by_its_last_part_and_names_are_text(tmp_path, page):
    data = {"source": "folder", "name": "syn1", "root": "/data/<b>caltech"}
    make_run(tmp_path / "run <i>", data=data, model={"name": "<script>alert(2)</script>"})
    table = page(str(tmp_path / "run <i>"))
    assert [cell["text"].strip() for cell in table.rows[1][:3]] == [
        "run <i>",
        "<script>alert(2)</script>",
        "<b>caltech",
    ]
    assert table.tags.count("script") == 1 and not {"i", "b", "link"} & set(table.tags)


def test_more_classes_than_there_is_room_for_are_counted(tmp_path, page, monkeypatch):
    monkeypatch.setattr(indexes, "_MOST_DRAWN", 2)
    make_run(tmp_path / "run")
    (row,) = page(str(tmp_path)).rows[1:]
    assert len(row[0]["maps"]) == 2 and "and 1 more" in row[0]["text"]


def damage(run, how):
    if how == "half a file":
        (run / "evaluation.json").write_bytes((run / "evaluation.json").read_bytes()[:50])
    elif how == "flipped":
        file = run / "dfm" / "removal.npz"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    elif how == "not evaluated":
        (run / "evaluation.json").unlink()
    elif how == "not searched":
        shutil.rmtree(run / "dfm")
    elif how == "no config":
        (run / "config.json").write_text("[1]")
    elif how == "old config":
        files.write_json(run / "config.json", {"stages": "train", "report": {"share": "much"}})
    elif how == "another share":
        evaluation = files.read_json(run / "evaluation.json")
        del evaluation["methods"]["removal"]["shares"]["0.25"]
        files.write_json(run / "evaluation.json", evaluation)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("half a file", "removal: evaluation.json: not JSON"),
        ("flipped", "removal: dfm/removal.npz: not a readable"),
        ("not evaluated", "removal: evaluation.json: no results of removal; run the stage evaluate first"),
        ("not searched", "no maps: the stage search is not done"),
        ("no config", "removal: config.json: got list; expected the config of a run"),
        ("old config", "removal: config.json: report.share: got 'much'; expected the config"),
        ("another share", "removal: evaluation.json: no rates of the maps at 25 %; run the stage evaluate again"),
    ],
)
def test_a_run_that_cannot_be_read_has_a_row_that_says_so_beside_the_others(tmp_path, page, how, said):
    make_run(tmp_path / "bad"), make_run(tmp_path / "good")
    damage(tmp_path / "bad", how)
    bad, good = page(str(tmp_path)).rows[1:]
    assert len(bad) == 2 and bad[0]["text"] == "bad" and bad[1]["text"].startswith(said) and bad[1]["value"] == ""
    assert good[0]["text"].startswith("good") and good[3]["text"] == "0.750"


def test_what_is_no_run_is_not_listed_and_a_run_once(tmp_path):
    make_run(tmp_path / "study" / "cell")
    make_run(tmp_path / "run")
    for name, stages in (("study", "study"), ("index", "runs"), ("sides", "compare"), ("data", "adcs")):
        files.write_json(tmp_path / name / "config.json", {"stages": stages})
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").write_text("")
    found = indexes.find_runs(f"{tmp_path}, {tmp_path / 'run'},{tmp_path / 'study'}")
    assert found == [tmp_path / "run", tmp_path / "study" / "cell"]


@pytest.mark.parametrize("text", ["", " , ", "nowhere", "empty", "empty/file"])
def test_where_there_is_no_run_the_command_says_so_and_writes_nothing(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "file").write_text("")
    config = runs_config.get_config()
    config.runs = text
    with pytest.raises(InputError, match=r"^runs: got (nothing|'.*', which has no run); expected (a )?workdir"):
        runner.run(config, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_the_page_is_written_again_when_a_run_has_changed(tmp_path, caplog):
    caplog.set_level(logging.INFO, "fsjax")
    make_run(tmp_path / "runs" / "a")
    config = runs_config.get_config()
    config.runs = str(tmp_path / "runs")
    for _ in range(2):
        runner.run(config, tmp_path / "index")
    assert "runs: already done" in caplog.text
    make_run(tmp_path / "runs" / "b")
    runner.run(config, tmp_path / "index")
    table = Table((tmp_path / "index" / "report" / "runs.html").read_text())
    assert [row[0]["text"] for row in table.rows[1:]] == ["a", "b"]


def test_one_page_is_led_to_and_several_are_laid_side_by_side(tmp_path, undrawn):
    report_workdir.write(tmp_path, ("ox", "elk", "zebra"), 16, samples=1)
    assert (tmp_path / "report" / "removal" / "figures" / "maps.png").exists()
    led = (tmp_path / "report" / "index.html").read_text()
    assert '<meta http-equiv="refresh" content="0; url=removal/index.html">' in led
    assert Page(led).addresses == ["removal/index.html"] and "side by side" not in led

    content = files.read_json(tmp_path / "evaluation.json")
    content["methods"]["learned"] = content["methods"]["removal"] | {"grafts": None}
    content["methods"]["unseen"] = content["methods"]["removal"]
    files.write_json(tmp_path / "evaluation.json", content)
    files.write_text(tmp_path / "report" / "learned" / "index.html", "a page")
    indexes.write_methods(common.base(), tmp_path)
    both = (tmp_path / "report" / "index.html").read_text()
    page = Page(both)
    assert set(page.addresses) == {"removal/index.html", "learned/index.html"} and "refresh" not in both
    removal = Evaluation.read(tmp_path / "evaluation.json").methods["removal"]
    text = " ".join(page.text.split())
    for label, name in enumerate(("ox", "elk", "zebra")):
        verdict, rates = removal.grafts.verdicts[label], removal.at(0.05)
        row = rf"{name}\S*\s?– no verdict.*?{rates.tpr[label]:.2f} / .*?{verdict.kind}.*?{rates.tpr[label]:.2f} / "
        assert re.search(row, text), (row, text)
