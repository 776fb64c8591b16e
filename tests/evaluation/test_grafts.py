"""Grafts of whole classes against loops in NumPy float64; restarts, devices and processes give the same bits."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, gmean

from fsjax.data import selection
from fsjax.evaluation import graft_measures, graft_outcomes, influence, judge_maps, verdict
from fsjax.evaluation.typed_json import to_json
from fsjax.fourier import masks, spectrum
from fsjax.runtime import parallel, partial_results
from tests.helpers.graft_problem import SHARES, candidates, problem, said
from tests.helpers.plane import spectra
from tests.helpers.processes import stopped
from tests.helpers.refused import refused

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

        def across_classes(self, name, mask, within):
            self.of_class[name] = (mask[None], super().across_classes(name, mask, within))
            return self.of_class[name][1]

        def contents(self, name, mask):
            self.of_class["content"] = (mask, super().contents(name, mask))
            return self.of_class["content"][1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judge_maps, "ClassGrafts", Kept)
        found = judge_maps.judge(made.model, candidates(made), sample or made.sample(), **options)
    return found, kept


@pytest.fixture(scope="module", params=WORLDS)
def judged(request):
    made = problem(**WORLDS[request.param])
    return (made, *judge(made))


def pairs_of(made, label):
    """The pairs of a class, and their recipients, donors, partners and companions."""
    sample = made.sample()
    by_class = selection.images_by_class(sample.labels, sample.usable)
    drawn = selection.draw_pairs(by_class, label, sample.pairs, sample.seed)
    rows = drawn.recipients, drawn.donors, drawn.partners, drawn.companions
    return drawn, *(made.images[images] for images in rows)


def by_hand(made, label, given):
    """Outcomes under masks, of images that NumPy grafts one by one."""
    drawn, recipients, donors, partners, companions = pairs_of(made, label)
    theirs, own = made.labels[drawn.recipients], np.full(len(drawn), label)
    under = [
        [
            said(made, recipients, spectra(companions), mask, label, theirs),
            said(made, recipients, spectra(donors), mask, label, theirs),
            said(made, donors, spectra(partners), mask, label, own),
            said(made, donors, spectra(recipients), mask, label, own),
        ]
        for mask in given
    ]
    return influence.Outcomes(*np.moveaxis(np.array(under), 1, 0), drawn.donors, drawn.recipients)


def test_every_outcome_is_that_of_images_grafted_one_by_one(judged):
    made, _, kept = judged
    for label, of_class in kept.items():
        for name, (given, found) in of_class.items():
            if name == "content":
                drawn, recipients, donors, *_ = pairs_of(made, label)
                phases = [np.exp(1j * np.angle(spectra(images))) for images in (recipients, donors)]
                lengths = [np.abs(spectra(images)) for images in (recipients, donors)]
                grafted = [lengths[1] * phases[0], lengths[0] * phases[1], np.zeros_like(phases[0])]
                theirs = made.labels[drawn.recipients]
                expected = [said(made, recipients, of, given, label, theirs) for of in grafted]
                np.testing.assert_array_equal(found, expected)
                continue
            expected = by_hand(made, label, given)
            if name.startswith("no_dc"):  # grafts within a class are those of the map
                of_map = of_class[f"map{name[5:]}"][1]
                expected = dataclasses.replace(expected, disrupted=of_map.disrupted, swapped=of_map.swapped)
            for field, values in vars(expected).items():
                np.testing.assert_array_equal(getattr(found, field), values)


def psi_of(outcomes, row):
    """S, N and psi from the definitions."""
    d, q, w, n = (getattr(outcomes, of)[row].mean() for of in UNDER)
    parts = (q - d) / max(1 - d, 0.02), (w - n) / max(w, 0.02)
    return (*parts, sum(parts) / 2)


UNDER = ("disrupted", "grafted", "swapped", "replaced")
OF_CONTROLLED = ("amplitude", "phase", "zeroed", "radial_psi", "equal_change_psi", "low_pass_psi")


def test_the_numbers_of_a_class_are_those_of_its_outcomes_at_all_shares(judged):
    made, found, kept = judged
    assert found.curve_shares == SHARES and found.tested_shares == SHARES[:2]
    for label, of_class in kept.items():
        maps = candidates(made).masks(label)
        of_map = by_hand(made, label, maps)
        baseline = {name: values[label] for name, values in vars(found.baseline).items()}
        drawn, recipients, *_ = pairs_of(made, label)
        theirs = made.labels[drawn.recipients]
        base = said(made, recipients, spectra(recipients), maps[0], label, theirs).mean()
        assert baseline["base"] == base and baseline["pairs"] == 10
        assert baseline["donors"] == len(set(of_map.donors)) and baseline["recipients"] == len(set(of_map.recipients))
        psi = [psi_of(of_map, row)[2] for row in range(3)]
        effects = influence.measure(of_map)
        control = verdict.control(base, made.classes)
        p_values = effects.p_above(control)[:2]
        above = [share for share in range(2) if p_values[share] <= 0.025 / 2 / made.classes]
        if above:
            share = 0 if above == [0] or psi[0] >= max(control, 0.75 * psi[1]) else 1
        else:
            share = int(np.argmax(psi[:2]))
        rates = {name: values[label] for name, values in vars(found.rates).items()}
        expected = dict(zip(("sufficiency", "necessity", "psi"), psi_of(of_map, share), strict=True))
        expected |= {name: getattr(of_map, name)[share].mean() for name in UNDER}
        mask = maps[share]
        has_dc = mask[made.plane[0] // 2, made.plane[1] // 2]
        beside_maps = {"content", f"controls{share}"} | ({f"no_dc{share}"} if has_dc else set())
        assert set(of_class) - {"map0", "map1", "map2"} == (beside_maps if above else set())
        grafted_masks = sum(len(given) for name, (given, _) in of_class.items() if name.startswith(("map", "control")))
        assert found.made[label] == 10 * (1 + 4 * grafted_masks + (3 + 2 * has_dc) * bool(above))
        if above:
            content_mask, contents = of_class["content"]
            np.testing.assert_array_equal(content_mask, mask)
            expected |= dict(zip(("amplitude", "phase", "zeroed"), contents.mean(1), strict=True))
            given, of_controls = of_class[f"controls{share}"]
            of_control = [np.clip(psi_of(of_controls, row)[2], -1, 1) for row in range(len(given))]
            expected |= {"radial_psi": np.mean(of_control[:2]), "equal_change_psi": np.mean(of_control[2:4])}
            assert len(given) == 5
            expected["low_pass_psi"] = of_control[4]
            expected["no_dc_psi"] = psi_of(of_class[f"no_dc{share}"][1], 0)[2] if has_dc else np.nan
        else:
            expected |= dict.fromkeys((*OF_CONTROLLED, "no_dc_psi"), np.nan)
        for name, value in expected.items():
            assert rates[name] == pytest.approx(np.clip(value, -1, 1), nan_ok=True), name
        low, high = binomtest(int(of_map.swapped[share].sum()), 10).proportion_ci(method="wilson")
        assert rates["share"] == SHARES[share] and rates["swapped_ci"] == pytest.approx([low, high], abs=1e-9)
        assert rates["psi_ci"] == pytest.approx(np.clip(effects.interval()[share], -1, 1))
        assert rates["p_value"] == pytest.approx(p_values.min())
        differences = np.square(np.abs(spectra(made.images[of_map.donors] - made.images[of_map.recipients])))
        differences = differences.sum((0, 3)) * (spectrum.radius(*made.plane) > 0)
        assert rates["difference"] == pytest.approx(differences[mask].sum() / differences.sum(), rel=1e-4)
        sides = (of_map.donors, of_map.recipients)
        energies = [np.square(np.abs(spectra(made.images[side]))).sum((0, 3)) for side in sides]
        without_dc = mask & (spectrum.radius(*made.plane) > 0)
        ratios = np.array(energies[0] / energies[1])[without_dc]
        expected_ratio = gmean(ratios) if without_dc.any() else np.nan
        assert rates["energy_ratio"] == pytest.approx(expected_ratio, rel=1e-4, nan_ok=True)
        largest = ratios.max() if without_dc.any() else np.nan
        assert rates["largest_energy_ratio"] == pytest.approx(largest, rel=1e-4, nan_ok=True)
        # The larger share is of use only where no tested one reaches 1/2.
        measured = [0, 1] if max(psi[:2]) >= 0.5 else [0, 1, 2]
        curve = found.curve
        assert np.flatnonzero(np.isfinite(curve.psi[:, label])).tolist() == measured
        assert curve.psi[measured, label] == pytest.approx(np.clip(psi, -1, 1)[measured])
        np.testing.assert_allclose(curve.psi_ci[measured, label], np.clip(effects.interval(), -1, 1)[measured])
        smallest, _ = influence.smallest_share(of_map, SHARES, 0.5, 4)
        assert curve.smallest[label] == pytest.approx(smallest, nan_ok=True)


def test_masks_are_those_that_their_kinds_say(judged):
    made, _, kept = judged
    centre = tuple(side // 2 for side in made.plane)
    for label, of_class in kept.items():
        for at, mask in enumerate(candidates(made).masks(label)):
            if f"map{at}" in of_class:
                np.testing.assert_array_equal(of_class[f"map{at}"][0], mask[None])
            if f"controls{at}" not in of_class:
                continue
            controls, outcomes = of_class[f"controls{at}"]
            donors, recipients = made.images[outcomes.donors], made.images[outcomes.recipients]
            differences = np.square(np.abs(spectra(donors - recipients))).sum((0, 3))
            differences[centre] = 0
            positions, either = int(mask.sum()), mask | spectrum.conjugate(mask)
            for other in controls[:4]:
                assert spectrum.is_hermitian(other) and not (other & either).any() and not other[centre]
            for other in controls[2:4]:
                everything = (other | either | (spectrum.radius(*made.plane) == 0)).all()
                assert differences[other].sum() >= differences[mask].sum() * (1 - 1e-5) or everything
            np.testing.assert_array_equal(controls[4], masks.low_pass(*made.plane, positions))
            if f"no_dc{at}" in of_class:
                changed = of_class[f"no_dc{at}"][0][0] ^ mask
                assert changed.sum() == 1 == changed[centre]


class MadeUp(graft_outcomes.ClassGrafts):
    """Made-up grafts: the map of n positions controls percent[n - 1] of 100 pairs, and other masks none."""

    label = 0

    def __init__(self, percent):
        self.percent, self.base, self.asked, self.made = percent, np.zeros(100, bool), [], 0
        self.donors, self.recipients = np.random.default_rng(0).normal(size=(2, 100, 6, 6, 1)).astype(np.float32)

    def outcomes(self, name, given):
        self.asked.append(name)
        sizes = given.sum((1, 2)) * name.startswith("map")
        controlled = np.arange(100) < np.array([0, *self.percent])[sizes, None]
        never = controlled & False
        return influence.Outcomes(never, controlled, ~never, ~controlled, *[np.arange(100)] * 2)

    def contents(self, name, mask):
        self.asked.append(name)
        return np.zeros((3, 100), bool)


@pytest.mark.parametrize("monotone", [True, False])
def test_the_share_is_that_of_an_exhaustive_search_and_few_shares_are_measured(monotone):
    rng, maps = np.random.default_rng(0), (np.arange(36) <= np.arange(12)[:, None]).reshape(12, 6, 6)
    shares, kinds = tuple(np.geomspace(0.002, 0.5, 12).tolist()), {"controlled": 0, "not": 0}
    for _ in range(25):
        percent = np.minimum(rng.integers(rng.choice([60, 200]), size=12), 100)
        percent = np.sort(percent) if monotone else percent
        tested, made = int(rng.integers(1, 10)), MadeUp(percent)
        found = graft_measures.measure(made, maps, shares, tested, 1e-3, 0, 0.5, True)
        at, every = shares.index(found["rates"]["share"]), MadeUp(percent).outcomes("map", maps)
        controlled = influence.measure(every).p_above(0.5)[:tested] <= 1e-3
        measured = [name for name in made.asked if name.startswith("map")]
        assert len(measured) == len(set(measured)) == np.isfinite(found["curve"]["psi"]).sum()
        asked = sorted({(tested - 1) // part for part in (1, 2, 4, 8, 16)})
        if controlled[asked].any():
            enough = max(50, 0.75 * percent[max(share for share in asked if controlled[share])])
            assert percent[at] >= enough and not (at and percent[at - 1] >= enough), "no smaller neighbour does"
            assert made.asked[len(measured) :] == [f"content{at}", f"controls{at}"]
        else:
            assert at == max(asked, key=lambda share: percent[share]) and made.asked == measured
        if monotone:
            assert not controlled.any() or (at == (percent >= enough).argmax() and len(measured) <= 7)  # of up to 9
            smallest, _ = influence.smallest_share(every, shares, 0.5, 0)
            assert found["curve"]["smallest"] == pytest.approx(smallest, nan_ok=True)
        # A mask costs four grafts a pair, without DC two, and the contents three.
        more = 4 * 5 + 2 + 3 if controlled[asked].any() else 0
        assert 100 * (1 + 4 * len(measured) + more) <= judge_maps.grafts_a_class(100, tested)
        kinds["controlled" if controlled[asked].any() else "not"] += 1
    assert min(kinds.values()) >= 4


def test_a_class_that_is_not_recognised_is_grafted_at_the_largest_tested_share_alone(judged):
    made, found, _ = judged
    unsure = dataclasses.replace(made.sample(), tpr=np.full(made.classes, 0.5), fpr=np.full(made.classes, 0.01))
    alone, kept = judge(made, unsure)
    for label, of_class in kept.items():
        assert list(of_class) == ["map1"] and alone.made[label] == 10 * (1 + 4)
        assert alone.verdicts[label].kind == "not recognised" and np.isnan(alone.curve.smallest[label])
        assert alone.rates.psi[label] == found.curve.psi[1, label] and np.isnan(alone.rates.phase[label])


def test_an_orbit_of_which_the_map_keeps_one_member_belongs_to_it():
    half = np.zeros((9, 9), bool)
    half[6:8, 3:6] = True  # second members of six orbits
    flat = np.ones((9, 9))
    controls, either = graft_measures.control_masks(half, flat, 0, 0), half | spectrum.conjugate(half)
    for other in controls["radial"]:
        assert other.sum() == either.sum() == 12 and not (other & either).any()
    for other in controls["equal_change"]:
        assert other.sum() == half.sum() and not (other & either).any()


def test_random_controls_depend_on_seed_and_class():
    mask, flat = masks.random(12, 12, 20, np.random.default_rng(0)), np.ones((12, 12))
    keys = ((0, 0), (0, 0), (0, 1), (1, 0))
    controls = [graft_measures.control_masks(mask, flat, label, seed) for label, seed in keys]
    for kind in ("radial", "equal_change"):
        first, again, other_seed, other_label = (found[kind] for found in controls)
        np.testing.assert_array_equal(first, again)
        assert (first != other_seed).any() and (first != other_label).any()
    radial, equal = controls[0]["radial"], controls[0]["equal_change"]
    assert len(np.unique([*radial, *equal], axis=0)) == 4, "controls of a kind or of two are independent"


@pytest.mark.parametrize("counts, drawn", [((9, 0, 8), [10, 0, 10]), ((6,), [0]), ((0, 5), [0, 0]), ((1, 4), [0, 10])])
def test_classes_that_give_no_pairs_have_no_numbers(counts, drawn):
    made = problem(counts=counts)
    found, kept = judge(made)
    assert found.baseline.pairs.tolist() == drawn and list(kept) == np.flatnonzero(drawn).tolist()
    without = np.array(drawn) == 0
    for name, values in vars(found.rates).items():
        missing = np.isnan(values).reshape(len(counts), -1).all(1)
        # A class whose map does not control it has no controls either.
        assert (missing == without).all() or (name in (*OF_CONTROLLED, "no_dc_psi") and missing[without].all())
    assert (np.isnan(found.curve.psi).all(0) == without).all() and np.isnan(found.curve.smallest_ci[without]).all()
    assert (found.made > 0).tolist() == (~without).tolist()
    for missing, judged in zip(without, found.verdicts, strict=True):
        assert not missing or (judged.kind == "undecided" and "no images" in judged.sentence)


@pytest.fixture(scope="module")
def whole():
    """The first world in small tiles: its numbers, and how many rows were computed."""
    rows = []
    with pytest.MonkeyPatch.context() as patched:
        count_rows(patched, rows)
        return to_json(judge(problem(), memory_mib=1)[0]), sum(rows)


def count_rows(patched, rows):
    set_ = partial_results.Table.set
    counted = lambda table, items, values: (rows.append(len(items)), set_(table, items, values))  # noqa: E731
    patched.setattr(partial_results.Table, "set", counted)


def test_numbers_are_the_same_on_any_number_of_devices_and_for_any_size_of_a_tile(whole, monkeypatch):
    for count, options in ((1, {"memory_mib": 1}), (4, {})):
        monkeypatch.setattr(parallel, "local_devices", lambda count=count: jax.local_devices()[:count])
        assert to_json(judge(problem(), **options)[0]) == whole[0]


def test_a_run_that_is_stopped_goes_on_with_the_rows_that_it_lacks(whole, tmp_path, monkeypatch):
    rows, bars = [], []

    class Bar(judge_maps.Progress):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            bars.append(self)

        def skip(self, count):
            assert count >= 0
            super().skip(count)

    count_rows(monkeypatch, rows)
    monkeypatch.setattr(judge_maps, "Progress", Bar)
    with stopped(5):  # among the controls of the first class
        judge(problem(), memory_mib=1, directory=tmp_path)
    before = sum(rows)
    assert to_json(judge(problem(), memory_mib=1, directory=tmp_path)[0]) == whole[0]
    after = sum(rows) - before
    assert before > 5 and before + after == whole[1], "each row once"
    assert to_json(judge(problem(), memory_mib=1, directory=tmp_path)[0]) == whole[0]
    assert sum(rows) == before + after, "a third run has nothing left to do"
    _, second, third = bars
    assert second.count == third.count == third.total
    computed = [bar.count - bar.resumed for bar in bars]
    assert computed[0] == 10 + 30 + 40 * (before - 2) and sum(computed) == sum(whole[0]["made"]) and not computed[2]
    model = problem().model
    doubled = dataclasses.replace(model, params=tuple(2 * part for part in model.params))
    other = dataclasses.replace(problem(), model=doubled)
    refused("partial results of another model", judge, other, memory_mib=1, directory=tmp_path)


def test_shares_of_a_curve_begin_with_one_orbit_or_a_thousandth_and_end_with_half_the_plane():
    for plane, first in (((9, 7), 2 / 63), ((32, 32), 2 / 1024), ((224, 224), 0.001)):
        shares = np.array(judge_maps.curve_shares(*plane))
        assert shares[[0, -1]] == pytest.approx([first, 0.5], rel=5e-3)
        np.testing.assert_allclose(shares[1:] / shares[:-1], (0.5 / first) ** (1 / (len(shares) - 1)), rtol=5e-3)
        assert masks.budget(shares[0], *plane) >= 2
