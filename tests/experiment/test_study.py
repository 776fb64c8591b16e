"""A study makes every run of its grid once, and its tables are the means and spreads of what the runs wrote."""

import csv
import dataclasses
import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from configs import augment
from fsjax.evaluation.ood.results import InDistribution, OodResult, SetResult
from fsjax.evaluation.results import read_evaluation
from fsjax.experiment import pipeline, runner
from fsjax.experiment.stages.study import cells, run_study
from fsjax.experiment.study_tables import as_latex, as_markdown, by_class, read, summary
from fsjax.fourier import dfm
from fsjax.runtime.errors import InputError
from tests.helpers import results

CLASSES = ("cat|dog", "a_b")


def make_config(**changes):
    config = augment.base("synthetic")
    config.data.image_size = 24
    config.study.models = "vit_nano_patch8"
    config.search.resamples, config.evaluate.grid, config.report.samples = 0, (), 1
    for name, value in changes.items():
        *groups, field = name.split("__")
        group = config
        for part in groups:
            group = group[part]
        group[field] = value
    return config.lock()


def test_a_grid_is_every_model_variant_and_seed_with_the_variants_own_fields(tmp_path):
    config = make_config(
        study__models="resnet20,vit_nano_patch8", study__seeds="3,5", study__variants="low_pass,standard"
    )
    config.variants.low_pass = "train.steps=7; train.learning_rate=0.5;data.mean=(0.1, 0.2, 0.3)"
    grid = cells(config, tmp_path)
    expected = itertools.product(("resnet20", "vit_nano_patch8"), ("low_pass", "standard"), (3, 5))
    assert [(cell.model, cell.variant, cell.seed) for cell in grid] == list(expected)
    assert len({cell.directory for cell in grid}) == 8 and grid[0].directory == tmp_path / "resnet20-low_pass-3"
    own = grid[0].config
    assert (own.model.name, own.seed, own.stages) == ("resnet20", 3, config.study.stages)
    assert (own.train.steps, own.train.learning_rate, own.data.mean) == (7, 0.5, (0.1, 0.2, 0.3))
    assert grid[2].config.train.steps == config.train.steps != 7
    assert "variants" not in own and own.is_locked


def test_a_variant_that_grafts_what_probes_find_has_their_stage(tmp_path):
    config = make_config(study__variants="standard,mitigate,afa")
    pipeline.check(config, runner.STAGES)
    standard, mitigate, afa = cells(config, tmp_path)
    assert mitigate.config.stages == f"probe,{config.study.stages}" and mitigate.config.train.ways == "graft"
    assert standard.config.stages == afa.config.stages == config.study.stages and afa.config.train.ways == "afa"


def test_a_variant_comes_after_the_one_whose_workdir_it_names(tmp_path):
    config = make_config(study__variants="third,second,standard")
    with config.unlocked():
        config.variants.third = "train.augment={second}"
        config.variants.second = "train.augment={standard}/dfm"
    grid = cells(config, tmp_path)
    assert [cell.variant for cell in grid] == ["standard", "second", "third"]
    assert grid[1].config.train.augment == str(tmp_path / "vit_nano_patch8-standard-0" / "dfm")


def test_maps_that_a_run_of_the_grid_will_leave_need_not_be_there_yet():
    config = make_config(study__variants="dfmx,standard")
    assert runner.check(config) == ["study"]
    config.variants.dfmx = "train.dfmx.maps=nowhere"
    with pytest.raises(InputError, match=r"vit_nano_patch8-dfmx-0: .*nowhere"):
        runner.check(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study__models": "resnet21"}, "study.models: got 'resnet21'; expected .*resnet20"),
        ({"study__models": ""}, "study.models: got ''; expected different names"),
        ({"study__seeds": "0,0"}, "study.seeds: got '0,0'; expected different names"),
        ({"study__seeds": "0,-1"}, "study.seeds: got '-1'; expected whole numbers from 0"),
        ({"study__variants": "standard,cut"}, "study.variants: got 'cut'; expected .*standard"),
        ({"variants__standard": "train.rate=1"}, "variants.standard: got 'train.rate'; expected"),
        ({"variants__standard": "train=1"}, "variants.standard: got 'train'; expected"),
        ({"variants__standard": "train.steps"}, "variants.standard: got 'train.steps'; expected 'field=value'"),
        (
            {"variants__standard": "train.steps=x"},
            "variants.standard: train.steps: got x; expected the field's type, int",
        ),
        (
            {"variants__standard": "train.steps=1.5"},
            "variants.standard: train.steps: got 1.5; expected the field's type, int",
        ),
        ({"variants__standard": "train.augment={other}"}, "variants.standard: needs the variant 'other'"),
        ({"variants__standard": "train.augment={standard}"}, "variants.standard: needs itself, by standard"),
        ({"variants__standard": "train.augment=blur"}, "vit_nano_patch8-standard-0: train.augment: .*blur"),
        ({"study__stages": "train"}, "vit_nano_patch8-standard-0: study.stages: got 'train'; expected train, search"),
        ({"data__image_size": 25}, "vit_nano_patch8-standard-0: .*25"),
    ],
)
def test_a_run_that_cannot_be_made_is_refused_before_the_first_one_starts(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        runner.run(make_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def make_outcome(cell, rng):
    """Writes what a run leaves, drawn at random, and returns what a study needs of it."""
    scores = rng.random((2, 24, 24))
    scores = scores + scores[:, ::-1, ::-1]
    iou = {name: [[float(rng.random()), None]] for name in ("mean", "low", "high")}
    about = {
        "classes": CLASSES,
        "method": "removal",
        "searched_on": "train",
        "images": np.array([4, 4]),
        "forward_equivalents": 1,
        "provenance": {"stability": {"resamples": 4, "shares": [0.05], "iou": iou}},
    }
    maps = dfm.from_scores(scores, (0.05, 0.2), **about)
    maps.save(cell.directory / "dfm" / "removal.npz")
    names = ("low_pass_tpr", "highest_energy_tpr", "random_tpr")
    rates = {name: rng.random(2).round(3).tolist() for name in ("tpr", "fpr")}
    kinds = ("shortcut by phase" if rng.random() < 0.5 else "spread", "undecided")
    psi, smallest = rng.uniform(-1, 1, 2).tolist(), [rng.random() if rng.random() < 0.7 else None for _ in range(2)]
    grafts = results.grafts(CLASSES, kinds, psi=psi, smallest=smallest)
    rates["tpr_ci"] = rng.random((2, 2)).tolist()
    unfiltered = {"accuracy": float(rng.random()), "tpr": rng.random(2).tolist()}
    method = results.method({0.05: results.map_rates(**rates), 0.2: results.map_rates([0.0, 0.0])}, grafts=grafts)
    plain = results.unfiltered(unfiltered["tpr"], accuracy=unfiltered["accuracy"])
    results.write(cell.directory, results.evaluation(CLASSES, {"removal": method}, of_images=plain))
    other = {name: {"tpr": rng.random(2).tolist()} for name in ("unfiltered", "filtered")}
    other["filtered"] |= {"tpr_ci": rng.random((2, 2)).tolist(), "fpr": [rng.random(), None]}
    of_controls = {name: rng.random(2).tolist() for name in names} | {"radial_tpr": [rng.random(), None]}
    sketches = {
        "images": np.array([3, 3]),
        "accuracy": rng.random(),
        "unfiltered": results.rates(other["unfiltered"]["tpr"]),
        "filtered": results.rates(**other["filtered"]),
        "controls": results.control_rates(2, **of_controls),
        "average_tpr": (),
    }
    own, of_set = InDistribution(**sketches), SetResult(**sketches, restricted=False, made_of={}, groups={})
    written = OodResult(CLASSES, 0.05, 0.6, 20, "train", own, {"sketches": of_set})
    (cell.directory / "ood").mkdir()
    (cell.directory / "ood" / "removal.json").write_text(json.dumps(written.to_json()))
    of_grafts = {"psi": psi, "smallest": smallest, "shortcut": [float(kinds[0] != "spread"), None]}
    return unfiltered, rates | of_grafts, maps.at(0.05), other | of_controls, iou["mean"][0][0]


def rows_of(file):
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def middle(shares):
    """The median as text, where None is beyond every share."""
    ordered, count = sorted(np.inf if share is None else share for share in shares), len(shares)
    found = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return "" if np.isinf(found) else str(found)


def test_tables_are_means_and_spreads_over_seeds_of_what_the_runs_wrote(tmp_path, capsys, monkeypatch):
    config = make_config(study__seeds="0,1,2", study__variants="standard,low_pass", evaluate__threshold=0.5)
    config.variants.low_pass = "train.steps=7"
    rng, wrote = np.random.default_rng(0), {}
    made = {cell.directory: cell for cell in cells(config, tmp_path)}

    def run(own, directory, stages):
        assert own == made[directory].config
        wrote[made[directory].variant, made[directory].seed] = make_outcome(made[directory], rng)

    monkeypatch.setattr(pipeline, "run", run)
    run_study(config, tmp_path)
    assert len(wrote) == 6
    summary = {row["training"]: row for row in rows_of(tmp_path / "study" / "summary.csv")}
    for variant, row in summary.items():
        found = [wrote[variant, seed] for seed in range(3)]
        assert row["seeds"] == "3" and row["model"] == "vit_nano_patch8"
        for heading, values in (
            ("accuracy", [one[0]["accuracy"] for one in found]),
            ("TPR", [np.mean(one[1]["tpr"]) for one in found]),
            ("FPR", [np.mean(one[1]["fpr"]) for one in found]),
            ("psi", [np.mean(one[1]["psi"]) for one in found]),
            ("above threshold", [np.mean(np.array(one[1]["tpr"]) > 0.5) for one in found]),
            ("shortcuts", [one[1]["shortcut"][0] for one in found]),
            ("resampled IoU", [one[4] for one in found]),
        ):
            np.testing.assert_allclose(float(row[heading]), sum(values) / 3)
            variance = sum((value - sum(values) / 3) ** 2 for value in values) / 2
            np.testing.assert_allclose(float(row[f"{heading} spread"]), variance**0.5)
        assert row["smallest share"] == middle([share for one in found for share in one[1]["smallest"]])
        alike = []
        for label, (a, b) in itertools.product(range(2), itertools.combinations(range(3), 2)):
            left, right = (set(zip(*np.nonzero(found[seed][2][label]), strict=True)) for seed in (a, b))
            alike.append(len(left & right) / len(left | right))
        np.testing.assert_allclose(float(row["map IoU"]), np.mean(alike))
        assert 0 < float(row["chance IoU"]) < 0.06
    classes = rows_of(tmp_path / "study" / "classes.csv")
    assert [(row["class"], row["training"]) for row in classes] == list(itertools.product(CLASSES, summary))
    for row in classes:
        found = [wrote[row["training"], seed] for seed in range(3)]
        label = CLASSES.index(row["class"])
        np.testing.assert_allclose(float(row["TPR unfiltered"]), np.mean([one[0]["tpr"][label] for one in found]))
        for heading, images in (("sketches TPR unfiltered", "unfiltered"), ("sketches TPR", "filtered")):
            np.testing.assert_allclose(float(row[heading]), np.mean([one[3][images]["tpr"][label] for one in found]))
        best = [max(one[3][mask][label] for mask in ("low_pass_tpr", "highest_energy_tpr")) for one in found]
        np.testing.assert_allclose(float(row["sketches trivial TPR"]), np.mean(best))
        np.testing.assert_allclose(
            float(row["sketches random TPR"]), np.mean([one[3]["random_tpr"][label] for one in found])
        )
        np.testing.assert_allclose(float(row["psi"]), np.mean([one[1]["psi"][label] for one in found]))
        assert row["smallest share"] == middle([one[1]["smallest"][label] for one in found])
        for where, part in (("", 1), ("sketches ", 3)):
            rows = [one[part].get("filtered", one[part]) for one in found]
            for end, name in enumerate(("low", "high")):
                ends = [of_run["tpr_ci"][label][end] for of_run in rows]
                np.testing.assert_allclose(float(row[f"{where}TPR {name}"]), np.mean(ends))
        radial = [one[3]["radial_tpr"][label] for one in found]
        assert "radial TPR" not in row
        assert (
            row["sketches radial TPR"] == "" if label else float(row["sketches radial TPR"]) == approx(np.mean(radial))
        )
        assert (row["sketches FPR"] == "") == bool(label)
        stable = [one[4] for one in found]
        assert float(row["resampled IoU"] or "nan") == approx(np.nan if label else np.mean(stable), nan_ok=True)
        verdicts = [one[1]["shortcut"][label] for one in found]
        assert row["shortcut"] == "" if verdicts[0] is None else float(row["shortcut"]) == approx(np.mean(verdicts))
        np.testing.assert_allclose(float(row["FPR spread"]), np.std([one[1]["fpr"][label] for one in found], ddof=1))
    assert "| vit_nano_patch8 | standard" in capsys.readouterr().out
    page = (tmp_path / "report" / "study.html").read_text()
    assert "cat|dog" in page and "6 runs, 3 seeds" in page


def test_one_seed_has_no_spread_and_a_run_without_grafts_no_psi(tmp_path):
    (cell,) = cells(make_config(), tmp_path)
    make_outcome(cell, np.random.default_rng(0))
    evaluation = read_evaluation(cell.directory / "evaluation.json")
    outcomes = [read(cell, 0.05)]
    methods = {"removal": dataclasses.replace(evaluation.methods["removal"], grafts=None)}
    results.write(cell.directory, dataclasses.replace(evaluation, methods=methods))
    outcomes.append(read(cell, 0.05))
    judged, without = (by_class([outcome]).iloc[0] for outcome in outcomes)
    assert judged["TPR"] == without["TPR"] and judged.notna()[["psi", "shortcut", "TPR"]].all()
    assert without.isna()[["psi", "shortcut", "smallest share"]].all()
    spreads = [name for name in judged.index if name.endswith("spread")]
    assert spreads and judged.isna()[[*spreads, "map IoU", "chance IoU"]].all()


@pytest.mark.parametrize(
    ("smallest", "expected"),
    [([0.5, 0.125, np.nan, np.inf], 0.5), ([0.25, 0.5], 0.375), ([np.inf, 0.5], np.nan), ([np.nan], np.nan)],
)
def test_a_median_is_missing_where_half_of_the_values_are_beyond_every_share(tmp_path, smallest, expected):
    (cell,) = cells(make_config(), tmp_path)
    make_outcome(cell, np.random.default_rng(0))
    outcome = read(cell, 0.05)
    outcomes = [
        dataclasses.replace(
            outcome,
            cell=dataclasses.replace(cell, seed=seed),
            table=outcome.table[:1].assign(**{"seed": seed, "smallest share": share}),
        )
        for seed, share in enumerate(smallest)
    ]
    np.testing.assert_equal([table["smallest share"][0] for table in map_tables(outcomes)], [expected] * 2)


def map_tables(outcomes):
    return summary(outcomes), by_class(outcomes)


def test_names_are_text_in_every_form_of_a_table():
    table = pd.DataFrame({"class": ["cat|dog", "a_b & 5 %"], "TPR": [0.25, np.nan], "TPR spread": [0.125, np.nan]})
    cells = re.split(r"(?<!\\)\|", as_markdown(table).splitlines()[2])
    assert [cell.strip() for cell in cells[1:-1]] == [r"cat\|dog", "0.250 ± 0.125"]
    latex = as_latex(table)
    assert r"a\_b \& 5 \%" in latex and r"0.250 $\pm$ 0.125" in latex and "--" in latex and r"\toprule" in latex


def test_a_run_that_fails_is_named(tmp_path, monkeypatch):
    def run(config, directory, stages):
        raise InputError("train.batch_size: got 7; expected 8")

    monkeypatch.setattr(pipeline, "run", run)
    with pytest.raises(InputError, match=r"vit_nano_patch8-standard-0: train\.batch_size: got 7"):
        run_study(make_config(), tmp_path)


def test_runs_of_different_classes_are_not_put_into_one_table(tmp_path, monkeypatch):
    config = make_config(study__seeds="0,1")
    rng, names = np.random.default_rng(0), iter([CLASSES, CLASSES[::-1]])

    def run(own, directory, stages):
        cell = next(cell for cell in cells(config, tmp_path) if cell.directory == directory)
        make_outcome(cell, rng)
        file = directory / "dfm" / "removal.npz"
        dataclasses.replace(dfm.DominantFrequencyMaps.load(file), classes=next(names)).save(file)

    monkeypatch.setattr(pipeline, "run", run)
    with pytest.raises(InputError, match="its runs have different classes"):
        run_study(config, tmp_path)


def test_a_small_study_goes_from_nothing_to_its_tables_and_is_not_made_twice(tmp_path, caplog, undrawn):
    config = make_config(study__variants="dfmx,standard", study__stages="train,search,evaluate,ood")
    changes = {"train.steps": 2, "train.batch_size": 16, "search.images_per_class": 2, "evaluate.pairs": 2}
    sizes = {"data.synthetic.train_per_class": 12, "data.synthetic.test_per_class": 4}
    config.update_from_flattened_dict(changes | sizes | {"search.patch": 3, "ood.random_masks": 1})
    config.ood.attacks = "fgsm:8/255"
    runner.run(config, tmp_path)
    rows = rows_of(tmp_path / "study" / "summary.csv")
    assert [row["training"] for row in rows] == ["standard", "dfmx"]
    for row in rows:
        own = tmp_path / f"vit_nano_patch8-{row['training']}-0"
        evaluation = json.loads((own / "evaluation.json").read_text())
        attacked = json.loads((own / "ood" / "removal.json").read_text())["sets"]["fgsm:8/255"]
        assert float(row["accuracy"]) == evaluation["unfiltered"]["accuracy"]
        np.testing.assert_allclose(
            float(row["TPR"]), np.mean(evaluation["methods"]["removal"]["shares"]["0.05"]["tpr"])
        )
        assert float(row["fgsm:8/255 accuracy"]) == attacked["accuracy"]
        assert row["map IoU"] == "" and -1 <= float(row["psi"]) <= 1  # one seed
        verdicts = evaluation["methods"]["removal"]["grafts"]["verdicts"]
        decided = [verdict["kind"] == "shortcut" for verdict in verdicts if verdict["kind"] != "undecided"]
        assert row["shortcuts"] == (str(np.mean(decided)) if decided else "")
    maps = str(tmp_path / "vit_nano_patch8-standard-0")
    assert (
        json.loads((tmp_path / "vit_nano_patch8-dfmx-0" / "config.json").read_text())["train"]["dfmx"]["maps"] == maps
    )
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("checkpoints/*.json")}
    caplog.set_level("INFO", logger="fsjax")
    runner.run(config, tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("already done" in line for line in lines) == 8
    assert files and files == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("checkpoints/*.json")}
