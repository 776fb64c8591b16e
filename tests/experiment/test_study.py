"""A study makes every run of its grid once; its tables are means and spreads of the runs' results."""

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
from fsjax.experiment.study_tables import as_markdown, by_class, read
from fsjax.fourier import dfm
from fsjax.runtime.errors import InputError
from tests.helpers import results
from tests.helpers.refused import refused

CLASSES = ("cat|dog", "a_b")


def make_config(**changes):
    config = augment.base("synthetic")
    config.data.image_size = 24
    config.study.models = "vit_nano_patch8"
    config.search.resamples, config.evaluate.grid, config.report.samples = 0, (), 1
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return config.lock()


def test_a_grid_is_every_model_variant_and_seed_with_the_variants_own_fields(tmp_path):
    models = "resnet20,vit_nano_patch8"
    config = make_config(study__models=models, study__seeds="3,5", study__variants="low_pass,standard")
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


def test_a_variant_has_the_stages_and_the_maps_that_it_needs(tmp_path):
    config = make_config(study__variants="standard,mitigate,amplitude_swap")
    pipeline.check(config, runner.STAGES)
    standard, mitigate, swapped = cells(config, tmp_path)
    assert mitigate.config.stages == f"probe,{config.study.stages}" and mitigate.config.train.ways == "graft,operations"
    assert (
        standard.config.stages == swapped.config.stages == config.study.stages
        and swapped.config.train.ways == "amplitude_swap"
    )
    config = make_config(study__variants="standard,dfmx")
    assert runner.check(config) == ["study"]
    assert cells(config, tmp_path)[1].config.train.dfmx.maps == str(tmp_path / "vit_nano_patch8-standard-0")
    config.variants.dfmx = "train.dfmx.maps=nowhere"
    refused(r"vit_nano_patch8-dfmx-0: .*nowhere", runner.check, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study__models": "resnet21"}, "study.models: got 'resnet21'; expected .*resnet20"),
        ({"study__models": ""}, "study.models, study.variants: got nothing; expected names"),
        ({"study__seeds": "0,0"}, "study.seeds: got '0,0'; expected different whole numbers"),
        ({"study__seeds": "0,-1"}, "study.seeds: got '0,-1'; expected different whole numbers"),
        ({"study__variants": "standard,cut"}, "study.variants: got 'cut'; expected .*standard"),
        ({"variants__standard": "train.rate=1"}, "variants.standard: got 'train.rate'; expected"),
        ({"variants__standard": "train.steps"}, "variants.standard: got 'train.steps'; expected 'field=value'"),
        ({"variants__standard": "train.steps=x"}, "train.steps: got x; expected the field's type, int"),
        ({"variants__standard": "train.steps=1.5"}, "train.steps: got 1.5; expected the field's type, int"),
        ({"study__variants": "dfmx,standard"}, "variants.dfmx: needs standard; expected it earlier in study.variants"),
        ({"variants__standard": "train.augment={standard}"}, "variants.standard: needs standard; expected it earlier"),
        ({"variants__standard": "train.augment=blur"}, "vit_nano_patch8-standard-0: train.augment: .*blur"),
        ({"study__stages": "train"}, "vit_nano_patch8-standard-0: study.stages: got 'train'; expected train, search"),
        ({"data__image_size": 25}, "vit_nano_patch8-standard-0: .*25"),
    ],
)
def test_a_run_that_cannot_be_made_is_refused_before_the_first_one_starts(changes, message, tmp_path):
    refused(message, runner.run, make_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def make_outcome(cell, rng):
    """Writes the files of a run, drawn at random; returns its masks, and values of both classes by their heading."""
    scores = rng.random((2, 24, 24))
    scores = scores + scores[:, ::-1, ::-1]
    resampled = rng.random()
    iou = {name: [[resampled, 1.0]] * 2 for name in ("mean", "low", "high")}
    stability = {"stability": {"resamples": 4, "shares": [0.05, 0.2], "iou": iou}}
    maps = results.maps(scores, (0.05, 0.2), CLASSES, provenance=stability)
    maps.save(cell.directory / "dfm" / "removal.npz")
    tpr, fpr, plain, psi, intervals = rng.random((5, 2)), *rng.random((3, 2)), rng.random((2, 2, 2))
    accuracy, shortcut = rng.random(2), rng.random() < 0.5
    smallest = np.where(rng.random(2) < 0.7, rng.random(2), np.nan)
    kinds = ("shortcut by phase" if shortcut else "spread", "undecided")
    grafts = results.grafts(CLASSES, kinds, psi=psi, smallest=smallest)
    rates = results.map_rates(tpr[0], fpr, tpr_ci=intervals[0])
    method = results.method({0.05: rates, 0.2: results.map_rates([0.0, 0.0])}, grafts=grafts)
    of_images = results.unfiltered(plain, accuracy=accuracy[0])
    results.write(cell.directory, results.evaluation(CLASSES, {"removal": method}, of_images=of_images))
    low, highest, random, radial = *rng.random((3, 2)), np.array([rng.random(), np.nan])
    controls = {"low_pass_tpr": low, "highest_energy_tpr": highest, "random_tpr": random, "radial_tpr": radial}
    sketches = {"images": np.array([3, 3]), "accuracy": accuracy[1], "unfiltered": results.rates(tpr[1])}
    sketches |= {"controls": results.control_rates(2, **controls), "average_tpr": ()}
    sketches |= {"filtered": results.rates(tpr[2], [fpr[0], None], intervals[1])}
    of_set = SetResult(**sketches, restricted=False, made_of={}, groups={})
    written = OodResult(CLASSES, 0.05, 0.6, 20, "train", InDistribution(**sketches), {"sketches": of_set})
    (cell.directory / "ood").mkdir()
    (cell.directory / "ood" / "removal.json").write_text(json.dumps(written.to_json()))
    values = {"accuracy": accuracy[0], "TPR unfiltered": plain, "TPR": tpr[0], "FPR": fpr, "psi": psi}
    values |= {"TPR low": intervals[0, :, 0], "TPR high": intervals[0, :, 1], "resampled IoU": [resampled, 1.0]}
    values |= {"above threshold": (tpr[0] > 0.5).mean(), "shortcut": [float(shortcut), np.nan]}
    values |= {"sketches accuracy": accuracy[1], "sketches TPR unfiltered": tpr[1], "sketches TPR": tpr[2]}
    values |= {"sketches TPR low": intervals[1, :, 0], "sketches TPR high": intervals[1, :, 1]}
    values |= {"sketches FPR": [fpr[0], np.nan], "sketches trivial TPR": np.maximum(low, highest)}
    values |= {"sketches random TPR": random, "sketches radial TPR": radial}
    values |= {"smallest share": np.where(np.isnan(smallest), np.inf, smallest)}
    return maps.at(0.05), {name: np.broadcast_to(value, 2) for name, value in values.items()}


def rows_of(file):
    """The rows of a CSV file, numbers as floats: NaN where there is none."""
    rows, named = list(csv.DictReader(file.read_text().splitlines())), ("class", "model", "training")
    return [{name: text if name in named else float(text or "nan") for name, text in row.items()} for row in rows]


def alike(masks):
    """The mean IoU of one class's masks over pairs of seeds, by sets of positions."""
    pairs = itertools.combinations([set(zip(*np.nonzero(mask), strict=True)) for mask in masks], 2)
    return np.mean([len(left & right) / len(left | right) for left, right in pairs])


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_tables_are_means_and_spreads_over_seeds_of_what_the_runs_wrote(tmp_path, capsys, monkeypatch):
    config = make_config(study__seeds="0,1,2", study__variants="standard,low_pass", evaluate__threshold=0.5)
    config.variants.low_pass = "train.steps=7"
    rng, wrote = np.random.default_rng(0), {}
    made = {cell.directory: cell for cell in cells(config, tmp_path)}

    def run(own, directory, stages):
        assert own == made[directory].config
        wrote.setdefault(made[directory].variant, []).append(make_outcome(made[directory], rng))

    monkeypatch.setattr(pipeline, "run", run)
    run_study(config, tmp_path)
    alone = ("low", "high", "smallest share")
    tables = {name: rows_of(tmp_path / "study" / f"{name}.csv") for name in ("summary", "classes")}
    assert [row["training"] for row in tables["summary"]] == ["standard", "low_pass"]
    for row in tables["summary"]:
        masks, runs = zip(*wrote[row["training"]], strict=True)
        assert row["seeds"] == 3 and row["model"] == "vit_nano_patch8"
        for heading in ("accuracy", "TPR", "FPR", "psi", "above threshold", "shortcut", "resampled IoU"):
            values = [np.nanmean(values[heading]) for values in runs]
            name = heading.replace("shortcut", "shortcuts")
            assert (row[name], row[f"{name} spread"]) == approx((np.mean(values), np.std(values, ddof=1)))
        middle = np.median([values["smallest share"] for values in runs])
        assert row["smallest share"] == approx(middle if np.isfinite(middle) else np.nan, nan_ok=True)
        assert row["map IoU"] == approx(np.mean([alike(of_class) for of_class in np.stack(masks, 1)]))
        assert 0 < row["chance IoU"] < 0.06
    keys = [(row["class"], row["training"]) for row in tables["classes"]]
    assert keys == list(itertools.product(CLASSES, ("standard", "low_pass")))
    for row in tables["classes"]:
        label, (masks, runs) = CLASSES.index(row["class"]), zip(*wrote[row["training"]], strict=True)
        for heading in runs[0].keys() - {"accuracy", "sketches accuracy", "above threshold"}:
            values = [values[heading][label] for values in runs]
            mean = np.median(values) if heading == "smallest share" else np.mean(values)
            assert row[heading] == approx(mean if np.isfinite(mean) else np.nan, nan_ok=True), heading
            if not heading.endswith(alone):
                assert row[f"{heading} spread"] == approx(np.std(values, ddof=1), nan_ok=True)
        assert row["map IoU"] == approx(alike([mask[label] for mask in masks])) and "radial TPR" not in row
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


def test_names_are_text_in_every_form_of_a_table():
    table = pd.DataFrame({"class": ["cat|dog", "a_b & 5 %"], "TPR": [0.25, np.nan], "TPR spread": [0.125, np.nan]})
    cells = re.split(r"(?<!\\)\|", as_markdown(table).splitlines()[2])
    assert [cell.strip() for cell in cells[1:-1]] == [r"cat\|dog", "0.250 ± 0.125"]


def test_a_run_that_fails_is_named(tmp_path, monkeypatch):
    def run(config, directory, stages):
        raise InputError("train.batch_size: got 7; expected 8")

    monkeypatch.setattr(pipeline, "run", run)
    refused(r"vit_nano_patch8-standard-0: train\.batch_size: got 7", run_study, make_config(), tmp_path)


def test_runs_of_different_classes_are_not_put_into_one_table(tmp_path, monkeypatch):
    config = make_config(study__seeds="0,1")
    rng, names = np.random.default_rng(0), iter([CLASSES, CLASSES[::-1]])

    def run(own, directory, stages):
        cell = next(cell for cell in cells(config, tmp_path) if cell.directory == directory)
        make_outcome(cell, rng)
        file = directory / "dfm" / "removal.npz"
        dataclasses.replace(dfm.DominantFrequencyMaps.load(file), classes=next(names)).save(file)

    monkeypatch.setattr(pipeline, "run", run)
    refused("its runs have different classes", run_study, config, tmp_path)


def test_a_small_study_goes_from_nothing_to_its_tables_and_is_not_made_twice(tmp_path, caplog, undrawn):
    config = make_config(study__variants="standard,dfmx", study__stages="train,search,evaluate,ood")
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
        assert row["accuracy"] == evaluation["unfiltered"]["accuracy"]
        assert row["TPR"] == approx(np.mean(evaluation["methods"]["removal"]["shares"]["0.05"]["tpr"]))
        assert row["fgsm:8/255 accuracy"] == attacked["accuracy"]
        assert np.isnan(row["map IoU"]) and -1 <= row["psi"] <= 1  # one seed
        verdicts = evaluation["methods"]["removal"]["grafts"]["verdicts"]
        decided = [verdict["kind"] == "shortcut" for verdict in verdicts if verdict["kind"] != "undecided"]
        assert row["shortcuts"] == approx(np.mean(decided) if decided else np.nan, nan_ok=True)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("checkpoints/*.json")}
    caplog.set_level("INFO", logger="fsjax")
    runner.run(config, tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("already done" in line for line in lines) == 8
    assert files and files == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("checkpoints/*.json")}
