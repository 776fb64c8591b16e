"""What the tables of the verdict benchmark say, against made-up rows and NumPy."""

import dataclasses

import numpy as np
import pytest

from benchmarks.planted import verdict_rules
from fsjax.engine.model import Model
from fsjax.evaluation.graft_results import GraftRates
from fsjax.fourier import masks


def test_filtered_rates_are_those_of_images_filtered_by_numpy():
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(30, 8, 8, 1)).astype(np.float32), np.arange(30) % 3
    weights = rng.normal(size=(64, 3)).astype(np.float32)
    model = Model(lambda params, batch: batch.reshape(len(batch), -1) @ params, weights, (8, 8, 1))
    maps = np.stack([masks.random(8, 8, 20, rng) for _ in range(3)])

    def called(mask, label):
        spectra = np.fft.fft2(images[..., 0].astype(float)) * np.fft.ifftshift(mask)
        return (np.fft.ifft2(spectra).real.reshape(30, -1) @ weights).argmax(-1) == label

    for label, found in enumerate(verdict_rules.filtered(model, maps, images, labels)):
        under, low_pass = called(maps[label], label), called(masks.low_pass(8, 8, int(maps[label].sum())), label)
        assert found["map_tpr"] == pytest.approx(under[labels == label].mean())
        assert found["map_fpr"] == pytest.approx(under[labels != label].mean())
        assert found["low_pass_tpr"] == pytest.approx(low_pass[labels == label].mean())
        assert found["published"] == (found["map_tpr"] > 0.6)


def row(label, psi, tpr, **rates):
    every = {field.name: None for field in dataclasses.fields(GraftRates)} | {"swapped_ci": [0.8, 1.0]}
    measured = {"psi": psi, "psi_ci": [psi - 0.05, psi + 0.05], "p_value": 1e-9 if psi > 0.5 else 1.0, "grafted": psi}
    carried = {"amplitude": psi, "phase": 0, "zeroed": 0, "energy_ratio": 9, "largest_energy_ratio": 4.5}
    controls = {"low_pass_psi": 0, "radial_psi": 0, "equal_change_psi": 0, "share": 0.01}
    about = {"seed": label, "label": label, "map_tpr": tpr, "map_fpr": 0.5, "low_pass_tpr": 0.5, "q0": 0.1}
    known = {"test_tpr": 0.9, "test_fpr": 0.1, "classes": 4, "pairs": 120, "level": 1e-3, "verdict": psi > 0.5}
    return about | known | {"rates": every | measured | carried | controls | rates}


def test_scores_are_ranked_and_each_threshold_moves_the_classes_that_hang_on_it():
    rows = [row("positive", 0.9, 0.7), row("positive", 0.8, 0.8, low_pass_psi=0.2), row("negative", 0.2, 0.75)]
    rows.append(row("negative", 0.7, 0.9, low_pass_psi=0.45, largest_energy_ratio=5) | {"verdict": False})
    said = dict(line.strip("| ").split(" | ") for line in verdict_rules.auroc(rows).splitlines()[2:])
    # Pairs of a positive and a negative, and how many of the four are in order.
    assert said == {"psi": "1.000", "TPR": "0.250", "TPR - FPR": "0.250", "TPR of low-pass": "0.500"}
    lines = {}
    for line in verdict_rules.thresholds(rows).splitlines()[2:]:
        name, value, *cells = line.strip("| ").replace("| |", "| - |").split(" | ")
        lines[name, value] = [cell.split(" ")[0] for cell in cells]
    assert lines["as frozen", "-"] == ["2/2", "2/2"]
    assert lines["low", "0.25"] == ["1/2", "2/2"], "low-pass of the second positive has a quarter of its psi"
    assert lines["own", "4"] == ["2/2", "1/2"], "the last negative has 5 times others' energy"


def test_a_class_that_changes_its_verdict_is_listed_and_undecided_is_no_change():
    def rows(label, draws, pairs):
        one = {"seed": 7, "class": label, "cue": "grating"}
        of_draws = [one | {"draw": draw, "pairs": 120, "kind": kind} for draw, kind in enumerate(draws)]
        each = zip((60, 120, 400, 1000), pairs, strict=True)
        return of_draws + [one | {"draw": 0, "pairs": count, "kind": kind} for count, kind in each]

    found = rows(0, ["coarse"] * 4 + ["undecided"], ["undecided", "coarse", "coarse", "coarse"])
    found += rows(1, ["coarse"] * 4 + ["shortcut"], ["coarse", "coarse", "undecided", "shortcut"])
    found += rows(2, ["shortcut"] * 5, ["shortcut", "band", "shortcut", "shortcut"])
    head, _, *lines = verdict_rules.stability(found).splitlines()
    assert head.startswith("2 of 3 classes keep their verdict over draws, 1 over numbers of pairs; 2 become")
    assert [line.split(":")[0] for line in lines] == [f"- network 7, class {label} (grating)" for label in (1, 2)]
    assert "draws: coarse, coarse, coarse, coarse, shortcut; pairs: coarse, coarse, undecided, shortcut" in lines[0]
