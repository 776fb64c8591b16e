"""Grafts of whole classes against loops in NumPy float64; restarts, devices and processes give the same bits."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, gmean

from fsjax.data import selection
from fsjax.evaluation import graft_measures, graft_outcomes, influence, judge_maps
from fsjax.evaluation.graft_measures import KINDS
from fsjax.evaluation.typed_json import to_json
from fsjax.fourier import masks, spectrum
from fsjax.runtime import interrupt, parallel, partial_results
from fsjax.runtime.errors import InputError
from tests.helpers.graft_problem import SHARES, candidates, problem, said, spectra

WORLDS = {
    "odd plane": {},
    "even plane, grey, a default class": {"plane": (8, 6), "channels": 1, "default": 0.8},
    "phase of two classes": {"cue": "phase", "counts": (8, 7)},
    "few images": {"counts": (2, 3, 1), "plane": (8, 8)},
}


def judge(made, sample=None, **options):
    """What grafts give, and of each class its masks and outcomes by their names in files."""
    kept = {}

    class Kept(graft_outcomes.ClassGrafts):
        def __init__(self, grafter, label, *rest):
            self.of_class = kept[label] = {}
            super().__init__(grafter, label, *rest)

        def outcomes(self, name, given):
            found = super().outcomes(name, given)
            self.of_class[name] = (given, found)
            return found

        def contents(self, name, mask):
            found = super().contents(name, mask)
            self.of_class["content"] = (mask, found)
            return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judge_maps, "ClassGrafts", Kept)
        found = judge_maps.judge(made.model, candidates(made), sample or made.sample(), **options)
    return found, kept


@pytest.fixture(scope="module", params=WORLDS)
def judged(request):
    made = problem(**WORLDS[request.param])
    return (made, *judge(made))


def test_every_outcome_is_that_of_images_grafted_one_by_one(judged):
    made, _, kept = judged
    sample = made.sample()
    for label, of_class in kept.items():
        drawn = selection.draw_pairs(
            selection.images_by_class(sample.labels, sample.usable), label, sample.pairs, sample.seed
        )
        recipients, donors, partners = (made.images[rows] for rows in (drawn.recipients, drawn.donors, drawn.partners))
        theirs, own = made.labels[drawn.recipients], np.full(len(drawn), label)
        mask, contents = of_class.pop("content")
        assert len(of_class) == len(KINDS) + 1
        for given, found in of_class.values():
            np.testing.assert_array_equal([found.donors, found.recipients], [drawn.donors, drawn.recipients])
            base = said(made, recipients, spectra(recipients), given[0], label, theirs)
            np.testing.assert_array_equal(found.base, base)
            for row, of_row in enumerate(given):
                grafted = said(made, recipients, spectra(donors), of_row, label, theirs)
                swapped = said(made, donors, spectra(partners), of_row, label, own)
                replaced = said(made, donors, spectra(recipients), of_row, label, own)
                np.testing.assert_array_equal(found.grafted[row], grafted)
                np.testing.assert_array_equal(found.swapped[row], swapped)
                np.testing.assert_array_equal(found.replaced[row], replaced)
        phases = [np.exp(1j * np.angle(spectra(images))) for images in (recipients, donors)]
        lengths = [np.abs(spectra(images)) for images in (recipients, donors)]
        grafted = [lengths[1] * phases[0], lengths[0] * phases[1], np.zeros_like(phases[0])]
        np.testing.assert_array_equal(contents, [said(made, recipients, of, mask, label, theirs) for of in grafted])
        of_class["content"] = (mask, contents)


def psi_of(outcomes, row):
    """S, N and psi from the definitions."""
    q0, q, w, n = (array.mean() for array in (outcomes.base, *(getattr(outcomes, of)[row] for of in UNDER)))
    parts = (q - q0) / max(1 - q0, 0.02), (w - n) / max(w, 0.02)
    return (*parts, sum(parts) / 2)


UNDER = ("grafted", "swapped", "replaced")


def test_the_numbers_of_a_class_are_those_of_its_outcomes(judged):
    made, found, kept = judged
    assert found.curve_shares == SHARES and found.tested_shares == SHARES[:2] and set(found.curves) == set(KINDS)
    for label, of_class in kept.items():
        _, of_map = of_class["map"]
        baseline = {name: values[label] for name, values in vars(found.baseline).items()}
        assert baseline["base"] == of_map.base.mean() and baseline["pairs"] == 10
        assert baseline["donors"] == len(set(of_map.donors)) and baseline["recipients"] == len(set(of_map.recipients))
        psi = [psi_of(of_map, row)[2] for row in range(3)]
        p_values = influence.measure(of_map).p_above(0.9 if of_map.base.mean() > 0.5 else 0.5)
        above = [share for share in range(2) if p_values[share] <= 0.025 / 2 / made.classes]
        share = above[0] if above else int(np.argmax(psi[:2]))
        rates = {name: values[label] for name, values in vars(found.rates).items()}
        expected = dict(zip(("sufficiency", "necessity", "psi"), psi_of(of_map, share), strict=True))
        expected |= {name: getattr(of_map, name)[share].mean() for name in UNDER}
        mask, contents = of_class["content"]
        np.testing.assert_array_equal(mask, candidates(made).masks(label)[share])
        expected |= dict(zip(("amplitude", "phase", "zeroed"), contents.mean(1), strict=True))
        given, of_controls = of_class[f"control{share}"]
        of_control = [np.clip(psi_of(of_controls, row)[2], -1, 1) for row in range(len(given))]
        expected |= {"radial_psi": np.mean(of_control[:3]), "equal_change_psi": np.mean(of_control[3:5])}
        assert len(given) == 7 + mask[made.plane[0] // 2, made.plane[1] // 2]
        expected |= {"low_pass_psi": of_control[-2], "energy_psi": of_control[-1]}
        expected["no_dc_psi"] = of_control[5] if len(given) == 8 else np.nan
        for name, value in expected.items():
            assert rates[name] == pytest.approx(np.clip(value, -1, 1), nan_ok=True), name
        low, high = binomtest(int(of_map.swapped[share].sum()), 10).proportion_ci(method="wilson")
        assert rates["share"] == SHARES[share] and rates["swapped_ci"] == pytest.approx([low, high], abs=1e-9)
        assert rates["psi_ci"] == pytest.approx(np.clip(influence.measure(of_map).interval()[share], -1, 1))
        assert rates["p_value"] == pytest.approx(p_values[share])
        differences = np.square(np.abs(spectra(made.images[of_map.donors] - made.images[of_map.recipients])))
        differences = differences.sum((0, 3)) * (spectrum.radius(*made.plane) > 0)
        assert rates["difference"] == pytest.approx(differences[mask].sum() / differences.sum(), rel=1e-4)
        beside = np.mean([differences[of].mean() for of in given[:3]])
        assert rates["prominence"] == pytest.approx(differences[mask].mean() / beside, rel=1e-4)
        energies = [
            np.square(np.abs(spectra(made.images[side]))).sum((0, 3)) for side in (of_map.donors, of_map.recipients)
        ]
        without_dc = mask & (spectrum.radius(*made.plane) > 0)
        ratios = np.array(energies[0] / energies[1])[without_dc]
        expected_ratio = gmean(ratios) if without_dc.any() else np.nan
        assert rates["energy_ratio"] == pytest.approx(expected_ratio, rel=1e-4, nan_ok=True)
        largest = ratios.max() if without_dc.any() else np.nan
        assert rates["largest_energy_ratio"] == pytest.approx(largest, rel=1e-4, nan_ok=True)
        for kind, curve in found.curves.items():
            _, outcomes = of_class[kind]
            psis = [np.clip(psi_of(outcomes, row)[2], -1, 1) for row in range(3)]
            assert curve.psi[:, label] == pytest.approx(psis)
            intervals = influence.measure(outcomes).interval()
            np.testing.assert_allclose(curve.psi_ci[:, label], np.clip(intervals, -1, 1))
            smallest, limits = influence.smallest_share(outcomes, SHARES, 0.5, 4)
            assert curve.smallest[label] == pytest.approx(smallest, nan_ok=True)
            np.testing.assert_array_equal(curve.smallest_ci[label], limits)


def test_masks_are_those_that_their_kinds_say(judged):
    made, found, kept = judged
    centre = tuple(side // 2 for side in made.plane)
    for label, of_class in kept.items():
        given, outcomes = candidates(made).masks(label), of_class["map"][1]
        donors, recipients = made.images[outcomes.donors], made.images[outcomes.recipients]
        energy = np.square(np.abs(spectra(donors))).mean((0, 3))
        # As exact as energies are in float32, members of an orbit are equal.
        energy = spectrum.per_orbit(energy)[spectrum.orbits(*made.plane)]
        differences = np.square(np.abs(spectra(donors - recipients))).sum((0, 3))
        differences[centre] = 0
        np.testing.assert_array_equal(of_class["map"][0], given)
        for share, mask in enumerate(given):
            positions, either = int(mask.sum()), mask | spectrum.conjugate(mask)
            low_pass = masks.low_pass(*made.plane, positions)
            np.testing.assert_array_equal(of_class["low_pass"][0][share], low_pass)
            np.testing.assert_array_equal(of_class["energy"][0][share], masks.best_orbits(energy, positions))
            radial = of_class["radial"][0][share]
            assert not (radial & either).any() and not radial[centre] and spectrum.is_hermitian(radial)
            if SHARES[share] != found.rates.share[label]:
                continue
            controls = of_class[f"control{share}"][0]
            assert len(np.unique(controls[:3], axis=0)) > 1 and (controls[:3] == radial).all((1, 2)).any()
            for other in controls[:5]:
                assert spectrum.is_hermitian(other) and not (other & either).any() and not other[centre]
            for other in controls[3:5]:
                everything = (other | either | (spectrum.radius(*made.plane) == 0)).all()
                assert differences[other].sum() >= differences[mask].sum() * (1 - 1e-5) or everything
            np.testing.assert_array_equal(controls[-2], low_pass)
            np.testing.assert_array_equal(controls[-1], of_class["energy"][0][share])
            if len(controls) == 8:
                assert (controls[5] ^ mask).sum() == 1 == (controls[5] ^ mask)[centre]


def test_an_orbit_of_which_the_map_keeps_one_member_belongs_to_it():
    half = np.zeros((9, 9), bool)
    half[6:8, 3:6] = True  # second members of six orbits
    flat = np.ones((9, 9))
    found = graft_measures.ClassMasks(half[None], 0, 0, flat, flat, flat)
    controls, either = found.controls(0), half | spectrum.conjugate(half)
    for other in (found.of_kind("radial", 0), *controls["radial"]):
        assert other.sum() == either.sum() == 12 and not (other & either).any()
    for other in controls["equal_change"]:
        assert other.sum() == half.sum() and not (other & either).any()


def test_random_controls_depend_on_seed_and_class_and_are_drawn_once(monkeypatch):
    mask, flat, drawn = masks.random(12, 12, 20, np.random.default_rng(0)), np.ones((12, 12)), []
    generator = graft_measures.generator
    monkeypatch.setattr(graft_measures, "generator", lambda *keys: (drawn.append(keys), generator(*keys))[1])
    made = [
        graft_measures.ClassMasks(mask[None], seed, label, flat, flat, flat)
        for seed, label in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    controls = [of_class.controls(0) for of_class in made]
    for kind in ("radial", "equal_change"):
        first, again, other_seed, other_label = (found[kind] for found in controls)
        np.testing.assert_array_equal(first, again)
        assert (first != other_seed).any() and (first != other_label).any()
        assert len(np.unique(first, axis=0)) == len(first)
    assert np.isfinite(made[0].energy_measures(0)["prominence"]) and len(drawn) == 4 * 5
    assert len(set(drawn[:5])) == 5, "controls of a kind or of two are independent"


@pytest.mark.parametrize(
    ("cue", "carried_by", "not_by"), [("amplitude", "amplitude", "phase"), ("phase", "phase", "amplitude")]
)
def test_amplitudes_or_phases_alone_carry_the_cue_that_lies_in_them(cue, carried_by, not_by):
    made = problem(cue=cue, counts=(20, 20) if cue == "phase" else (20, 20, 20), weakest=1.0)
    found, _ = judge(made, made.sample(pairs=60))
    rates, base = found.rates, found.baseline.base[:2]
    assert (rates.grafted[:2] >= 0.9).all() and (rates.psi[:2] >= 0.8).all()
    assert (getattr(rates, carried_by)[:2] >= 0.9).all()
    assert (getattr(rates, not_by)[:2] <= base + 0.1).all() and (base <= 0.6).all()
    for verdict, share in zip(found.verdicts[:2], found.curves["low_pass"].smallest, strict=False):
        assert verdict.kind == "shortcut" and (f"low-pass needs {100 * share:.2g} %" in verdict.sentence) == (share > 0)


@pytest.mark.parametrize(
    ("counts", "drawn"), [((9, 0, 8), [10, 0, 10]), ((6,), [0]), ((0, 5), [0, 0]), ((1, 4), [0, 10])]
)
def test_classes_that_give_no_pairs_have_no_numbers(counts, drawn):
    made = problem(counts=counts)
    found, kept = judge(made)
    assert found.baseline.pairs.tolist() == drawn and list(kept) == np.flatnonzero(drawn).tolist()
    without = np.array(drawn) == 0
    for name, values in vars(found.rates).items():
        missing = np.isnan(values).reshape(len(counts), -1).all(1)
        # A class whose map is without DC has no such number either.
        assert (missing == without).all() or (name == "no_dc_psi" and missing[without].all())
    for curve in found.curves.values():
        assert (np.isnan(curve.psi).all(0) == without).all() and np.isnan(curve.smallest_ci[without]).all()
    for missing, verdict in zip(without, found.verdicts, strict=True):
        assert not missing or (verdict.kind == "undecided" and "no images" in verdict.sentence)


@pytest.fixture(scope="module")
def whole():
    """The first world in small tiles: its numbers, and how many rows were computed."""
    rows = []
    with pytest.MonkeyPatch.context() as patched:
        count_rows(patched, rows)
        return to_json(judge(problem(), memory_mib=1)[0]), sum(rows)


def count_rows(patched, rows):
    set_ = partial_results.Table.set
    patched.setattr(
        partial_results.Table, "set", lambda table, items, values: (rows.append(len(items)), set_(table, items, values))
    )


def test_numbers_are_the_same_on_any_number_of_devices_and_for_any_size_of_a_tile(whole, monkeypatch):
    for count, options in ((1, {"memory_mib": 1}), (4, {})):
        monkeypatch.setattr(parallel, "local_devices", lambda count=count: jax.local_devices()[:count])
        assert to_json(judge(problem(), **options)[0]) == whole[0]


def test_a_run_that_is_stopped_goes_on_with_the_rows_that_it_lacks(whole, tmp_path, monkeypatch):
    rows, checks, bars = [], [], []

    def stop():
        checks.append(0)
        if len(checks) == 5:
            raise interrupt.Terminated

    class Bar(judge_maps.Progress):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            bars.append(self)

        def skip(self, count):
            assert count >= 0
            super().skip(count)

    count_rows(monkeypatch, rows)
    monkeypatch.setattr(interrupt, "check", stop)
    monkeypatch.setattr(judge_maps, "Progress", Bar)
    with pytest.raises(interrupt.Terminated):
        judge(problem(), memory_mib=1, directory=tmp_path)
    before, images = sum(rows), 3 * 10
    assert to_json(judge(problem(), memory_mib=1, directory=tmp_path)[0]) == whole[0]
    after = sum(rows) - before
    assert before > 10 and before + after == whole[1], "each row once"
    assert to_json(judge(problem(), memory_mib=1, directory=tmp_path)[0]) == whole[0]
    assert sum(rows) == before + after, "a third run has nothing left to do"
    _, second, third = bars
    assert second.count == third.count == third.total
    assert [bar.count - bar.resumed for bar in bars] == [each * images for each in (before, after, 0)]
    model = problem().model
    doubled = dataclasses.replace(model, params=tuple(2 * part for part in model.params))
    with pytest.raises(InputError, match="partial results of another model"):
        judge(dataclasses.replace(problem(), model=doubled), memory_mib=1, directory=tmp_path)


def test_shares_of_a_curve_begin_with_one_orbit_or_a_thousandth_and_end_with_half_the_plane():
    for plane, first in (((9, 7), 2 / 63), ((32, 32), 2 / 1024), ((224, 224), 0.001)):
        shares = np.array(judge_maps.curve_shares(*plane))
        assert shares[[0, -1]] == pytest.approx([first, 0.5], rel=5e-3)
        np.testing.assert_allclose(shares[1:] / shares[:-1], (0.5 / first) ** (1 / (len(shares) - 1)), rtol=5e-3)
        assert masks.budget(shares[0], *plane) >= 2
