"""Grafts of whole classes against loops in NumPy float64; restarts, devices and processes give the same bits."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy.stats import binomtest

from fsjax.data import pairs
from fsjax.evaluation import graft_masks, grafting, grafts, influence, smallest_share
from fsjax.evaluation.graft_masks import KINDS
from fsjax.evaluation.graft_results import GraftRates
from fsjax.evaluation.typed_json import to_json
from fsjax.fourier import masks, spectrum
from fsjax.runtime import interrupt, parallel, partial_results
from fsjax.runtime.errors import InputError
from tests.helpers.graft_problem import SHARES, candidates, outcomes, problem, spectra
from tests.helpers.processes import finish, start

WORLDS = {
    "odd plane": {},
    "even plane, grey, a default class": {"plane": (8, 6), "channels": 1, "default": 0.8},
    "phase of two classes": {"cue": "phase", "counts": (8, 7)},
    "few images": {"counts": (2, 3, 1), "plane": (8, 8)},
}


def judge(made, sample=None, **options):
    """What grafts give, and the outcomes of each class that they rest on."""
    kept = {}
    with pytest.MonkeyPatch.context() as patched:
        measure = grafts.measure

        def measure_and_keep(engine, sample, label, *rest):
            kept[label] = measure(engine, sample, label, *rest)
            return kept[label]

        patched.setattr(grafts, "measure", measure_and_keep)
        found = grafting.judge(made.model, candidates(made), sample or made.sample(), **options)
    return found, kept


@pytest.fixture(scope="module", params=WORLDS)
def judged(request):
    made = problem(**WORLDS[request.param])
    return (made, *judge(made))


def test_every_outcome_is_that_of_images_grafted_one_by_one(judged):
    made, _, kept = judged
    sample = made.sample()
    for label, found in kept.items():
        drawn = pairs.draw(sample.labels, sample.usable, label, sample.pairs, sample.seed)
        recipients, donors, partners = (made.images[rows] for rows in (drawn.recipients, drawn.donors, drawn.partners))
        theirs, own = made.labels[drawn.recipients], np.full(len(drawn), label)
        for row, mask in enumerate(found.masks.masks):
            expected = np.stack(
                [
                    outcomes(made, recipients, spectra(donors), mask, label, theirs),
                    outcomes(made, donors, spectra(partners), mask, label, own),
                    outcomes(made, donors, spectra(recipients), mask, label, own),
                ],
                1,
            )
            for counted, of in zip((found.others, found.plain), expected, strict=True):
                np.testing.assert_array_equal([counted.grafted[row], counted.swapped[row], counted.replaced[row]], of)
        base = outcomes(made, recipients, spectra(recipients), mask, label, theirs)
        np.testing.assert_array_equal([found.others.base, found.plain.base], base)
        assert (found.masks.masks[0] == 0).all() and list(found.contents) == [0, 1]
        phases = [np.exp(1j * np.angle(spectra(images))) for images in (recipients, donors)]
        lengths = [np.abs(spectra(images)) for images in (recipients, donors)]
        contents = [lengths[1] * phases[0], lengths[0] * phases[1], np.zeros_like(phases[0])]
        for share, of_share in found.contents.items():
            expected = [
                outcomes(made, recipients, of, candidates(made).masks(label)[share], label, theirs) for of in contents
            ]
            np.testing.assert_array_equal(of_share, np.swapaxes(expected, 0, 1))


def psi_of(counted, row):
    """S, N and psi from the definitions."""
    q0, q, w, n = (array.mean() for array in (counted.base, *(getattr(counted, of)[row] for of in UNDER)))
    parts = (q - q0) / max(1 - q0, 0.02), (w - n) / max(w, 0.02)
    return (*parts, sum(parts) / 2)


UNDER = ("grafted", "swapped", "replaced")


def test_the_numbers_of_a_class_are_those_of_its_outcomes(judged):
    made, found, kept = judged
    assert found.curve_shares == SHARES and list(found.shares) == ["0.05", "0.2"] and set(found.curves) == set(KINDS)
    for label, of_class in kept.items():
        by_plain = of_class.others.base.mean() > 0.5
        counted = of_class.plain if by_plain else of_class.others
        baseline = {name: values[label] for name, values in vars(found.baseline).items()}
        assert baseline["base"] == of_class.others.base.mean() and baseline["by_plain"] == by_plain
        assert baseline["base_plain"] == of_class.plain.base.mean() and baseline["pairs"] == 10
        assert baseline["donors"] == len(set(counted.donors)) and baseline["recipients"] == len(set(counted.recipients))
        rows = of_class.masks.rows
        for share, rates in enumerate(found.shares.values()):
            at = {field.name: getattr(rates, field.name)[label] for field in dataclasses.fields(GraftRates)}
            (row,) = rows("map", share)
            sufficiency, necessity, psi = psi_of(counted, row)
            expected = {"sufficiency": sufficiency, "necessity": necessity, "psi": psi}
            expected |= {name: getattr(counted, name)[row].mean() for name in UNDER}
            contents = of_class.contents[share][int(by_plain)].mean(1)
            expected |= dict(zip(("amplitude", "phase", "zeroed"), contents, strict=True))
            for kind in ("radial", "equal_change", "no_dc", "low_pass", "energy"):
                psis = [psi_of(counted, other)[2] for other in rows(kind, share)]
                expected[f"{kind}_psi"] = np.mean(psis) if psis else np.nan
            for name, value in expected.items():
                # w of 0 makes N what it may be.
                assert at[name] == pytest.approx(np.clip(value, -1, 1), nan_ok=True), name
            low, high = binomtest(int(counted.swapped[row].sum()), 10).proportion_ci(method="wilson")
            assert at["swapped_ci"] == pytest.approx([low, high], abs=1e-9)
            limits = influence.measure(counted.of_masks([row]))
            assert at["psi_ci"] == pytest.approx(np.clip(limits.interval()[0], -1, 1))
            assert at["p_value"] == pytest.approx(limits.p_above(0.5)[0])
            differences = np.square(np.abs(spectra(made.images[counted.donors] - made.images[counted.recipients])))
            differences = differences.sum((0, 3)) * (spectrum.radius(*made.plane) > 0)
            held = differences[of_class.masks.masks[row]].sum() / differences.sum()
            assert at["difference"] == pytest.approx(held, rel=1e-4)
        for kind, curve in found.curves.items():
            of_kind = [rows(kind, share)[0] for share in range(len(SHARES))]
            psis = [np.clip(psi_of(counted, row)[2], -1, 1) for row in of_kind]
            assert curve.psi[:, label] == pytest.approx(psis)
            intervals = influence.measure(counted.of_masks(of_kind)).interval()
            np.testing.assert_allclose(curve.psi_ci[:, label], np.clip(intervals, -1, 1))
            smallest, limits = smallest_share.smallest_share(counted.of_masks(of_kind), SHARES, 0.5, 4)
            assert curve.smallest[label] == pytest.approx(smallest, nan_ok=True)
            np.testing.assert_array_equal(curve.smallest_ci[label], limits)


def test_masks_are_those_that_their_kinds_say(judged):
    made, _, kept = judged
    for label, of_class in kept.items():
        found, given = of_class.masks, candidates(made).masks(label)
        energy = np.square(np.abs(spectra(made.images[of_class.others.donors]))).mean((0, 3))
        assert not found.masks[0].any() and len(found.masks) <= graft_masks.GraftMasks.most((True, True, False))
        for share, mask in enumerate(given):
            at = {kind: found.masks[found.rows(kind, share)] for kind in (*KINDS, "equal_change", "no_dc")}
            tested, positions = share < 2, int(mask.sum())
            centre = tuple(side // 2 for side in made.plane)
            assert [len(of) for of in at.values()] == [1, 1, 1, 4 if tested else 1, 2 * tested, tested and mask[centre]]
            np.testing.assert_array_equal(at["map"][0], mask)
            np.testing.assert_array_equal(at["low_pass"][0], masks.low_pass(*made.plane, positions))
            # As equal as energies are in float32, members of an orbit are equal.
            orderly = spectrum.per_orbit(energy)[spectrum.orbits(*made.plane)]
            np.testing.assert_array_equal(at["energy"][0], masks.best_orbits(orderly, positions))
            either = mask | spectrum.conjugate(mask)
            for other in (*at["radial"], *at["equal_change"]):
                assert spectrum.is_hermitian(other) and not (other & either).any() and not other[centre]
            (row,) = found.rows("map", share)
            for other in found.rows("equal_change", share):
                everything = (found.masks[other] | either | (spectrum.radius(*made.plane) == 0)).all()
                assert found.share_of_difference(other) >= found.share_of_difference(row) or everything
            if len(at["no_dc"]):
                assert (at["no_dc"][0] ^ mask).sum() == 1 == (at["no_dc"][0] ^ mask)[centre]


def test_random_controls_depend_on_seed_and_class():
    mask, flat = masks.random(12, 12, 20, np.random.default_rng(0)), np.ones((12, 12))
    made = []
    for seed, label in ((0, 0), (0, 0), (1, 0), (0, 1)):
        found = graft_masks.GraftMasks(mask[None], (True,), seed, label, flat, flat)
        made.append(found.masks[[*found.rows("radial", 0), *found.rows("equal_change", 0)]])
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any() and (made[0] != made[3]).any()
    assert len(np.unique(made[0], axis=0)) == len(made[0]) == 6


@pytest.mark.parametrize(
    ("cue", "carried_by", "not_by"), [("amplitude", "amplitude", "phase"), ("phase", "phase", "amplitude")]
)
def test_amplitudes_or_phases_alone_carry_the_cue_that_lies_in_them(cue, carried_by, not_by):
    found, _ = judge(problem(cue=cue, counts=(20, 20) if cue == "phase" else (20, 20, 20), weakest=1.0))
    rates = found.shares["0.2"]
    assert (rates.grafted[:2] >= 0.9).all() and (rates.psi[:2] >= 0.8).all()
    assert (getattr(rates, carried_by)[:2] >= 0.9).all()
    assert (getattr(rates, not_by)[:2] <= found.baseline.base[:2] + 0.1).all() and (
        found.baseline.base[:2] <= 0.5
    ).all()


@pytest.mark.parametrize(
    ("counts", "drawn"), [((9, 0, 8), [10, 0, 10]), ((6,), [0]), ((0, 5), [0, 0]), ((1, 4), [0, 10])]
)
def test_classes_that_give_no_pairs_have_no_numbers(counts, drawn):
    made = problem(counts=counts)
    found, kept = judge(made)
    assert found.baseline.pairs.tolist() == drawn and list(kept) == np.flatnonzero(drawn).tolist()
    without = np.array(drawn) == 0
    for rates in found.shares.values():
        for field in dataclasses.fields(GraftRates):
            # Equal change and DC may be missing beside a class's own numbers.
            missing = np.isnan(getattr(rates, field.name)).reshape(len(counts), -1).all(1)
            assert (missing == without).all() or (field.name == "no_dc_psi" and missing[without].all())
    for curve in found.curves.values():
        assert (np.isnan(curve.psi).all(0) == without).all() and np.isnan(curve.smallest_ci[without]).all()
    for missing, verdict in zip(without, found.verdicts, strict=True):
        assert not missing or (verdict.kind == "undecided" and "no images" in verdict.sentence)


@pytest.fixture(scope="module")
def whole():
    """Of the first world in small tiles."""
    return to_json(judge(problem(), memory_mib=1)[0])


def test_numbers_are_the_same_on_any_number_of_devices(whole, monkeypatch):
    for count in (1, 4):
        monkeypatch.setattr(parallel, "local_devices", lambda count=count: jax.local_devices()[:count])
        assert to_json(judge(problem(), memory_mib=1)[0]) == whole
    assert to_json(judge(problem())[0]) == whole, "nor on the size of a tile"


def test_a_run_that_is_stopped_goes_on_with_the_rows_that_it_lacks(whole, tmp_path, monkeypatch):
    set_, rows, checks, bars = partial_results.Table.set, [], [], []

    def count(table, items, values):
        rows.append(len(items))
        set_(table, items, values)

    def stop():
        checks.append(0)
        if len(checks) == 5:
            raise interrupt.Terminated

    class Bar(grafting.Progress):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            bars.append(self)

        def skip(self, count):
            assert count >= 0
            super().skip(count)

    monkeypatch.setattr(partial_results.Table, "set", count)
    monkeypatch.setattr(interrupt, "check", stop)
    monkeypatch.setattr(grafting, "Progress", Bar)
    with pytest.raises(interrupt.Terminated):
        judge(problem(), memory_mib=1, directory=tmp_path)
    before, images = sum(rows), 3 * 10
    assert to_json(judge(problem(), memory_mib=1, directory=tmp_path)[0]) == whole
    after = sum(rows) - before
    monkeypatch.setattr(interrupt, "check", lambda: None)
    assert to_json(judge(problem(), memory_mib=1, directory=tmp_path)[0]) == whole
    assert sum(rows) == before + after, "a third run has nothing left to do"
    judge(problem(), memory_mib=1)
    assert before > 10 and sum(rows) == 2 * (before + after), "each row once"
    _, second, third, fresh = bars
    assert second.count == third.count == fresh.count == fresh.total
    assert [bar.count - bar.resumed for bar in bars] == [of * images for of in (before, after, 0, before + after)]
    other = problem()
    other.model = dataclasses.replace(other.model, params=tuple(2 * part for part in other.model.params))
    with pytest.raises(InputError, match="partial results of another model"):
        judge(other, memory_mib=1, directory=tmp_path)


def test_processes_share_the_classes_and_end_with_the_numbers_of_one(whole, tmp_path):
    worker = ("-m", "tests.helpers.graft_problem")
    finish(start(tmp_path / "parts", tmp_path / "found.json", devices=1, processes=2, worker=worker))
    assert json.loads((tmp_path / "found.json").read_text()) == whole
    assert {path.name for path in (tmp_path / "parts").glob("class*")} == {f"class{label:05d}" for label in range(3)}


def test_memory_for_less_than_a_graft_is_refused():
    with pytest.raises(InputError, match=r"run.memory_mib: got 1; expected \d+ or more for a tile of one image"):
        judge(problem(), problem().sample(pairs=3000), memory_mib=1)


def test_shares_of_a_curve_begin_with_one_orbit_or_a_thousandth_and_end_with_half_the_plane():
    for plane, first in (((9, 7), 2 / 63), ((32, 32), 2 / 1024), ((224, 224), 0.001)):
        shares = np.array(grafting.curve_shares(*plane))
        assert shares[[0, -1]] == pytest.approx([first, 0.5], rel=5e-3)
        np.testing.assert_allclose(shares[1:] / shares[:-1], (0.5 / first) ** (1 / (len(shares) - 1)), rtol=5e-3)
        assert masks.budget(shares[0], *plane) >= 2
