"""Stages: finished work is not repeated, results of other settings are refused, and the report says everything."""

import json
import logging
import re
import shutil
import urllib.request

import jax
import numpy as np
import pytest
from PIL import Image

import fsjax
from configs import augment, dfm_resnet, dfm_vit, study
from fsjax import search
from fsjax.experiment import command, runner
from fsjax.explore import server
from fsjax.explore.subject import Subject
from fsjax.fourier import dfm
from fsjax.report.answer import NO_VERDICT
from fsjax.report.page import search_notes
from fsjax.runtime import files
from tests.helpers.html_page import Page
from tests.helpers.refused import refused
from tests.helpers.small_run import small_config
from tests.helpers.undrawn import leave_undrawn


def stage_lines(caplog):
    lines = [record.getMessage() for record in caplog.records if record.name == "fsjax.experiment.pipeline"]
    caplog.clear()
    return {line.partition(":")[0]: "already" in line for line in lines if "done" in line}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch, but_of_the_page=True)
        runner.run(small_config(), directory, command=["python", "launch.py", "--config=configs/<x>.py"])
    return directory


def test_check_tells_what_it_refuses_and_a_card_is_verified(done, tmp_path, launch):
    def check(*words):
        status, said = launch("check", str(done), *words)
        return status, [line for line in said.splitlines() if line]

    before = sorted(done.rglob("*"))
    verdicts = files.read_json(done / "evaluation.json")["methods"]["removal"]["grafts"]["verdicts"]
    kinds = {each["kind"] for each in verdicts}
    status, said = check(f"--kinds={','.join(kinds)}", f"--junit={tmp_path}/a.xml", f"--card={tmp_path}/card.json")
    sentences = [f"refused: {each['sentence']}" for each in verdicts]
    assert (status, said[1:]) == (1, [*sentences, "4 of 4 classes are refused."])
    assert (tmp_path / "a.xml").read_text().count("<failure ") == 4 and (tmp_path / "card.md").exists()
    allowed = check("--allow=C0,C1,C2", f"--kinds={verdicts[3]['kind']}")
    assert allowed == (1, [said[0], said[4], "1 of 4 classes is refused."])
    nothing = (0, [said[0], "0 of 4 classes are refused."])
    assert check("--allow=C0,C1,C2,C3") == check(f"--kinds={','.join(kinds)}", "--max-psi=1") == nothing
    assert check("--allow=C9")[0] == check("--pairs=3")[0] == check("more")[0] == 2
    assert check("--verify=gone.json") == (
        2,
        ["error: verify: got gone.json, which is no file; expected a card that check --card wrote"],
    )

    status, again = check(f"--verify={tmp_path / 'card.json'}")
    assert status == 0 and again[-1].endswith("; no differences.")
    card = files.read_json(tmp_path / "card.json")
    assert card["accuracy"] == files.read_json(done / "evaluation.json")["unfiltered"]["accuracy"]
    assert card["headline"] == said[0]
    lower = [each | {"psi": -1.5, "psi_ci": [-2, -1]} for each in card["verdicts"]]
    files.write_json(tmp_path / "low.json", card | {"verdicts": lower})
    status, again = check(f"--verify={tmp_path / 'low.json'}")
    assert status == 1 and again[-1].endswith("; 3 differences."), "the same kinds, but psi outside the interval"
    others = [each | {"name": "C9"} for each in card["verdicts"]]
    for changed in ({"verdicts": others}, {"method": "graft"}):
        files.write_json(tmp_path / "other.json", card | changed)
        status, again = check(f"--verify={tmp_path / 'other.json'}")
        assert status == 2 and again[-1].startswith(f"error: {tmp_path / 'other.json'}: got a card of other maps or cl")
    card |= {name: card[name][::-1] for name in ("model", "images")}
    card["verdicts"] = [each | {"kind": "band"} for each in card["verdicts"]]
    files.write_json(tmp_path / "card.json", card)
    status, again = check(f"--verify={tmp_path / 'card.json'}")
    assert status == 1 and again[-1].endswith("; 5 differences.")
    assert again[:2] == ["differs: the model: another SHA-256", "differs: the images: another SHA-256"]
    assert sorted(done.rglob("*")) == before


def test_a_run_of_a_version_without_a_field_of_today_is_refused_in_one_line(done, tmp_path, launch):
    shutil.copytree(done, tmp_path / "old")
    config = files.read_json(done / "config.json")
    del config["data"]["interpolation"]
    files.write_json(tmp_path / "old" / "config.json", config)
    for words in (["explore"], ["check", f"--card={tmp_path / 'card.json'}"]):
        status, said = launch(words[0], str(tmp_path / "old"), *words[1:])
        assert status == 2 and "config.json: got no field 'data.interpolation'; expected a run of this" in said, said
        assert "Traceback" not in said
    assert fsjax.load_result(tmp_path / "old").table() and not (tmp_path / "card.json").exists()


def test_the_page_holds_everything_itself_and_says_what_was_measured(done):
    page = Page((done / "report" / "removal" / "index.html").read_text())
    text = " ".join(page.text.split())
    inside = re.compile("data:image/webp;base64,|#class-[0-3]$|#table$")
    assert page.addresses and all(map(inside.match, page.addresses))
    assert page.tags.count("script") == 3 and "link" not in page.tags and not page.missing_alt
    evaluation = json.loads((done / "evaluation.json").read_text())
    assert f"accuracy {evaluation['unfiltered']['accuracy']:.3f}" in page.text
    rates = evaluation["methods"]["removal"]["shares"]["0.05"]
    for values in (rates["tpr"], rates["fpr"]):
        assert all(f"{value:.3f}" in page.text for value in values)
    assert "published criterion, TPR > 0.6" in page.text
    grafts = evaluation["methods"]["removal"]["grafts"]
    assert max(grafts["tested_shares"]) == 0.05 and grafts["baseline"]["pairs"] == [6] * 4
    for verdict in grafts["verdicts"]:
        name, kind = verdict["name"], verdict["kind"] + (f" by {verdict['by']}" if verdict["by"] else "")
        reason = verdict["sentence"].removeprefix(f"{name}: {kind}: ")
        assert re.search(rf"{name}\W+{kind} {re.escape(reason)} ?psi at", text), name
        assert verdict["psi"] is None or f"{verdict['psi']:.3f} [{verdict['psi_ci'][0]:.3f}, " in text
    shown = len(re.findall(r"A graft that (succeeds|fails) ?image of C", text))
    assert text.count("donor: C") == text.count("with the graft C") == shown > 0
    for name in ("C1", "C2", "C3"):
        uses = evaluation["unfiltered"]["tpr"][int(name[1])] - evaluation["planted"][name]["tpr_without"] >= 0.1
        sentence = re.search(rf"{name}: the model (uses|does not use) its planted frequencies", page.text)
        assert sentence[1] == ("uses" if uses else "does not use")
    assert "python launch.py '--config=configs/<x>.py'" in page.text
    shown = json.loads(page.scripts[0])
    assert shown["names"] == evaluation["classes"] and set(shown["shares"]) >= {0.01, 0.05, 0.1, 0.2}
    with Image.open(done / "report" / "removal" / "figures" / "maps.png") as figure:
        assert figure.size[0] > 300


def test_the_live_page_opens_a_workdir_and_writes_nothing_into_it(done, monkeypatch, capsys):
    before, waiting = {file: file.stat().st_mtime_ns for file in done.rglob("*")}, server.Page.wait

    def interrupted():
        raise KeyboardInterrupt

    def wait(page):
        with urllib.request.urlopen(page.address) as reply:
            assert f"Explore {done.name}" in reply.read().decode()
        with monkeypatch.context() as patch:
            patch.setattr(page._thread, "join", interrupted)
            waiting(page)

    monkeypatch.setattr(server.Page, "wait", wait)
    assert command.main(["fsjax", "explore", str(done), "--method=removal"]) == 0
    assert capsys.readouterr().out.startswith("explore: http://127.0.0.1:")
    opened = fsjax.load_result(done, "removal").open()
    request = {"recipient": {"class": 0, "nth": 1}, "donor": {"class": 2, "nth": 0}}
    request |= {"operation": "graft", "mask": "3.5"}
    subject = Subject(opened.model, opened.test, opened.maps, "", f"result = fsjax.load_result({str(done)!r}).open()")
    lines = {}
    exec(subject.python(request)["lines"], lines)
    printed = np.array(re.findall(r"\d\.\d+", capsys.readouterr().out), float).reshape(2, 4)
    expected = jax.nn.softmax(opened.model(lines["edited"]))[0]
    np.testing.assert_allclose(printed[1], expected, atol=2e-5)
    assert {file: file.stat().st_mtime_ns for file in done.rglob("*")} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "explore: got 0 folders; expected one: fsjax explore FOLDER"),
        (["{}", "--porrt=1"], "Unknown command line flag 'porrt'. Did you mean: port ?"),
        (["{}", "--port=99999"], "flag --port=99999: 99999 is not an integer in the range [0, 65535]"),
        (["{}/figures"], "workdir: got {}/figures, which has no maps; expected a folder where the stage search ran"),
        (["{}"], "open: got {}, results alone; expected the workdir of a run"),
    ],
)
def test_what_cannot_be_explored_is_one_line(done, tmp_path, capsys, words, said):
    shutil.copytree(done / "dfm", tmp_path / "dfm")
    for name in ("config.json", "evaluation.json"):
        shutil.copy(done / name, tmp_path)
    assert command.main(["fsjax", "explore", *(word.format(tmp_path) for word in words)]) == 2
    assert capsys.readouterr().err == f"error: {said.format(tmp_path)}\n"


@pytest.mark.usefixtures("undrawn")
def test_a_second_run_does_nothing_again_and_another_method_does_not_retrain(done, caplog, monkeypatch):
    """The other method has the same maps, but searched on test images: the same rates, and no verdict."""

    def other(problem):
        maps = dfm.DominantFrequencyMaps.load(done / "dfm" / "removal.npz")
        return dfm.dataclasses.replace(maps, method="other", searched_on="test")

    def run(**changes):
        runner.run(small_config(search__method="other", search__images_per_class=0, **changes), done)
        method = json.loads((done / "evaluation.json").read_text())["methods"]["other"]
        return stage_lines(caplog), method, Page((done / "report" / "other" / "index.html").read_text()).text

    caplog.set_level(logging.INFO, "fsjax")
    # Settings of how a run goes may change.
    runner.run(small_config(run__memory_mib=64, run__save_seconds=0.0, run__log_every=1, data__cache_gib=0.0), done)
    assert stage_lines(caplog) == {"train": True, "search": True, "evaluate": True, "report": True}
    monkeypatch.setitem(search.SEARCHES, "other", search.Method(other))
    ran, method, page = run()
    assert ran == {"train": True, "search": False, "evaluate": False, "report": False}
    assert method["shares"] == json.loads((done / "evaluation.json").read_text())["methods"]["removal"]["shares"]
    grafts = method["grafts"]
    assert grafts["baseline"]["pairs"] == [0] * 4 and "image of C" not in page and "psi below" not in page
    assert "Searched and judged on the same images" in page and grafts["verdicts"][0]["kind"] in page

    ran, method, page = run(report__share=0.2, evaluate__threshold=0.5)
    assert ran == {"train": True, "search": True, "evaluate": False, "report": False} and "TPR > 0.5" in page
    assert set(map(float, method["shares"])) <= set(method["grafts"]["tested_shares"]), "the shares of verdicts"
    assert NO_VERDICT in (page := run(evaluate__pairs=0)[2]) and "smallest share" not in page


def test_the_published_search_s_losses_are_drawn_against_the_class_s_median_and_unvisited_positions_stay_blank():
    scores = np.random.default_rng(0).normal(5, 0.1, (2, 8, 8))
    scores[:, 0, 5:] = 0
    drawn = search.SEARCHES["removal"].compat.drawable(scores)
    for plane, shown in zip(scores, drawn, strict=True):
        np.testing.assert_allclose(shown, np.where(plane != 0, plane - np.median(plane[plane != 0]), np.nan), atol=1e-6)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        ("greedy", {"search__greedy__tolerance": 0.2}, "Greedy removal kept"),
        ("hierarchical", {"search__hierarchical__candidates": "6,6,6"}, "Candidates of each stage: 6 of patch 6"),
        ("learned", {"search__learned__steps": 2, "search__learned__batch": 4}, "At 20 % the learned mask was"),
    ],
)
def test_every_method_goes_from_the_search_to_its_words_in_the_report(done, caplog, method, fields, said):
    caplog.set_level(logging.INFO, "fsjax")
    config = small_config(search__method=method, search__shares=(0.2,), report__share=0.2, evaluate__pairs=0, **fields)
    stages = ("train", "search", *(("evaluate", "report") if method == "learned" else ()))
    config.stages = ",".join(stages)
    runner.run(config, done)
    assert stage_lines(caplog) == {stage: stage == "train" for stage in stages}
    maps = dfm.DominantFrequencyMaps.load(done / "dfm" / f"{method}.npz")
    assert maps.provenance["fields"]["model.name"] == config.model.name
    # For a classifier that is hardly trained and predicts one class for every image, greedy removal keeps nothing.
    assert (maps.positions <= 0.2 * 24**2).all() and (maps.positions.max() > 0) == (method != "greedy")
    assert any(said in note for note in search_notes(maps, 0.2))
    if method == "learned":
        page = Page((done / "report" / method / "index.html").read_text()).text
        assert said in page and f"{maps.forward_equivalents:,} forward passes" in page
    # Fields of other methods, and an unused patch size, do not matter.
    with config.unlocked():
        config.search.hierarchical.keep += method != "hierarchical"
        config.search.learned.steps += method != "learned"
        config.search.patch = 2
    runner.run(config, done)
    assert all(stage_lines(caplog).values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__learning_rate": 0.5}, "a train result made with other settings (train.learning_rate was 0.1, now"),
        ({"search__split": "test"}, "a search result made with other settings (search.split was 'train', now 'test')"),
        ({"data__name": "syn2"}, "data.name was 'syn1', now 'syn2'"),
        ({"search__transform": "dft"}, "(search.transform was 'auto', now 'dft')"),
    ],
)
def test_a_workdir_of_other_settings_is_refused_and_left_alone(done, changes, message):
    def contents():
        return {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}

    before = contents()
    said = refused(re.escape(message), runner.run, small_config(**changes), done)
    assert "go on with those settings, or name another --workdir" in said
    assert contents() == before


def test_partial_results_of_other_settings_are_in_no_ones_way_once_they_are_deleted(done, tmp_path):
    shutil.copytree(done / "checkpoints", tmp_path / "checkpoints")
    record = files.read_json(done / "stages/train.json") | {"done": False}
    files.write_json(tmp_path / "stages/train.json", record)
    config = small_config(stages="train", train__learning_rate=0.5, train__steps=1)
    refused(rf"train partial result .* or delete {tmp_path / 'checkpoints'}$", runner.run, config, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    runner.run(config, tmp_path)
    assert files.read_json(tmp_path / "stages/train.json")["done"]


@pytest.mark.parametrize("killed", [False, True], ids=["", "training killed before its first checkpoint"])
def test_stages_without_their_input_say_which_stage_to_run_first(tmp_path, killed):
    if killed:
        (tmp_path / "checkpoints").mkdir()
    for stages, missing in (("search", "trained model; run the stage train"), ("evaluate", "maps; run the stage")):
        refused(f"no {missing}", runner.run, small_config(stages=stages), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": "train,serch"}, "expected probe, train, "),
        ({"stages": ","}, "stages: got nothing; expected probe, train, "),
        ({"search__method": "remove"}, "search.method: got 'remove'; expected graft, greedy"),
        ({"search__shares": ()}, "search.shares: got nothing"),
        ({"search__patch": 5}, "search.patch: got 5; expected a divisor of the image size 24 x 24: 1, 2, 3, 4, 6, 8"),
        ({"search__split": "val"}, "search.split: got 'val'; expected train, test"),
        ({"search__precision": "float16"}, "search.precision: got 'float16'; expected highest, tensorfloat32, bfloat"),
        ({"report__share": 0.3}, "report.share: got 0.3; expected one of search.shares, "),
        ({"model__name": "resnet19"}, "model.name: got 'resnet19'; expected "),
        ({"data__mean": (0.5, 0.5, 0.5)}, "data.std"),
        ({"stages": "export", "data__frequencies": "low:0.1"}, "data.frequencies: got 'low:0.1'; expected '' with the"),
        ({"stages": "adcs", "adcs__split": "val"}, "adcs.split: got 'val'; expected train, test"),
    ],
)
def test_bad_fields_are_refused_before_anything_is_written(tmp_path, changes, message):
    refused(re.escape(message), runner.run, small_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("module", [dfm_vit, dfm_resnet])
@pytest.mark.parametrize("arg", ["demo", "synthetic", "cifar10", "imagenet10", "imagenet1k"])
def test_every_config_holds_fields_that_can_be_used(module, arg):
    config = module.get_config(arg)
    config.train.batch_size *= 8
    assert runner.check(config) == ["train", "search", "evaluate", "report"]
    assert module.get_config() == module.get_config({dfm_vit: "demo", dfm_resnet: "synthetic"}[module])


@pytest.mark.parametrize("module", [augment, study])
@pytest.mark.parametrize("arg", ["synthetic", "cifar10_cpu", "cifar10", "imagenet10"])
def test_every_study_is_of_runs_that_can_be_made(module, arg):
    config = module.get_config(arg)
    config.train.batch_size *= 8
    config.study.variants = ",".join(["standard", *(set(config.variants) - {"standard"})])
    assert runner.check(config) == ["study"]
    assert module.get_config() == module.get_config("synthetic")
    refused("--config: got the data set 'imagenet1k'; expected synthetic, cifar10_cpu", module.get_config, "imagenet1k")
