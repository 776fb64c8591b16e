"""The benchmark of `adaptive` against exact removal: its figures reckoned anew, and no class is searched twice."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from benchmarks.accuracy import adaptive as benchmark
from fsjax import search
from fsjax.engine import tile_size
from fsjax.engine.model import Model
from fsjax.fourier import patches, spectrum
from fsjax.search import sweep, throughput
from fsjax.search.adaptive import image_losses

ABOUT = {"images": 0, "patch": 1, "share": 0.1, "split": "test"}
COUNTS = (60, 90)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tile_size, "fit", lambda *_, **__: 30)


def network(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def make_problem(**own):
    rng = np.random.default_rng(0)
    row, column = np.indices((8, 8)) - 4
    fall = np.fft.ifftshift(1 / (1 + row**2 + column**2))[None, :, :, None]
    noise = [np.fft.fft2(rng.normal(size=(count, 8, 8, 3)), axes=(1, 2)) for count in COUNTS]
    images = [np.fft.ifft2(of_class * fall * 6, axes=(1, 2)).real.astype(np.float32) for of_class in noise]
    options = search.options()
    options.update(method="removal", shares=(0.1,), split="test", resamples=0)
    # An elimination that decides far too early, and a sample that contradicts it for the second class only.
    options.adaptive.update({"confidence": 0.3, "first_images": 8, "exact_sample": 2} | own)
    params = {
        "hidden": rng.normal(size=(8 * 8 * 3, 16)).astype(np.float32) / 8,
        "out": rng.normal(size=(16, 3)).astype(np.float32),
    }
    return search.Problem(
        model=Model(network, params, (8, 8, 3)),
        images=lambda label: images[label],
        counts=COUNTS,
        classes=("a", "b"),
        options=options,
        run=ConfigDict({"memory_mib": 0, "save_seconds": 0.0}),
        searched_on="test",
        seed=2,
        provenance={},
    )


def exact_best(problem, label):
    """The orbits of the best tenth of the plane, whose losses are reckoned in float64."""
    images = problem.images(label).astype(float)
    params = {name: array.astype(float) for name, array in problem.model.params.items()}
    orbits, spectra = np.fft.ifftshift(spectrum.orbits(8, 8)), np.fft.fft2(images, axes=(1, 2))

    def loss(keep):
        kept = np.fft.ifft2(spectra * keep[None, :, :, None], axes=(1, 2)).real
        logits = np.tanh(kept.reshape(len(kept), -1) @ params["hidden"]) @ params["out"]
        return (np.log(np.exp(logits).sum(1)) - logits[:, label]).mean()

    rises = np.array([loss(orbits != orbit) for orbit in range(orbits.max() + 1)])
    sizes, best, left = np.bincount(orbits.ravel()), [], 6  # floor(0.1 * 64)
    for orbit in np.argsort(-rises):
        if sizes[orbit] > left:
            break
        best.append(int(orbit))
        left -= sizes[orbit]
    return best


def test_a_row_says_how_alike_the_maps_are_and_what_both_cost(tmp_path):
    problem, found = make_problem(), []
    for label, row in enumerate(benchmark.rows(problem, tmp_path, ABOUT, 2)):
        folder = tmp_path / "adaptive" / "0-1-0.1-test" / "adaptive" / f"class{label:05d}"
        losses = [np.load(file)["values"].size for file in folder.glob("block*.npz")]
        assert row["passes"] == sum(losses) + 3 * COUNTS[label], "a pass each, and three for each image's gradient"
        assert row["exact_passes"] == COUNTS[label] * 35 and row["searched"] == COUNTS[label]
        assert row["share_of_exact"] == row["passes"] / row["exact_passes"]
        rises = np.array(json.loads((folder / "found.json").read_text())["rises"])
        orbits = spectrum.orbits(8, 8)
        scores = rises[np.argsort([orbits[tuple(place)] for place in patches.orbit_positions(8, 8)])]
        best, own = exact_best(problem, label), []
        for orbit in np.argsort(-scores, kind="stable"):
            own.append(int(orbit))
            if np.isin(orbits, own).sum() > 6:
                own.pop()
                break
        both, either = (np.isin(orbits, list(chosen)).sum() for chosen in (set(best) & set(own), set(best) | set(own)))
        assert row["iou"] == pytest.approx(both / either)
        found.append(row)
    assert found[0]["iou"] < 0.8 and not found[0]["went_exact"], "an elimination that decides too early is seen"
    assert found[1]["iou"] == 1 and found[1]["went_exact"]
    assert {row["class"] for row in found} == {"a", "b"} and all(row.items() >= ABOUT.items() for row in found)
    over_all = benchmark.mean(found)
    assert over_all["iou"] == pytest.approx((found[0]["iou"] + found[1]["iou"]) / 2, abs=1e-4)
    assert over_all["least_iou"] == min(row["iou"] for row in found)
    assert over_all["most_share"] == max(row["share_of_exact"] for row in found)
    assert over_all["went_exact"] == [row["went_exact"] for row in found].count(True)


def test_a_class_that_is_evaluated_whole_agrees_and_costs_more_than_exact_removal(tmp_path):
    (row,) = benchmark.rows(make_problem(confidence=1e6), tmp_path, ABOUT, 1)
    assert row["iou"] == 1 and row["share_of_exact"] == pytest.approx((35 + 3) / 35) and not row["resumed"]


class Stopped(Exception):
    pass


def test_a_class_that_was_found_is_not_searched_again_and_one_that_was_stopped_goes_on(tmp_path, monkeypatch):
    first, computed = benchmark.rows(make_problem(), tmp_path, ABOUT, 1), []
    counted_passes, stop_after = image_losses.Evaluator.count, [12]

    class Swept(throughput.Throughput):
        def count(self, masks, images, name):
            computed.append((name, masks))
            super().count(masks, images, name)
            if sum(masks for _, masks in computed) >= stop_after[0]:
                raise Stopped

    monkeypatch.setattr(sweep, "Throughput", Swept)
    with pytest.raises(Stopped):
        benchmark.rows(make_problem(), tmp_path, ABOUT, 2)
    begun = sum(masks for _, masks in computed)
    assert 0 < begun < 35
    stop_after[0] = 10**6
    searched = set()

    def counted(self, label, passes):
        searched.add(label)
        counted_passes(self, label, passes)

    monkeypatch.setattr(image_losses.Evaluator, "count", counted)
    again = benchmark.rows(make_problem(), tmp_path, ABOUT, 2)
    assert again[0] == first[0] and again[1]["resumed"] and not again[0]["resumed"]
    assert {name for name, _ in computed} == {"b"} and searched == {1}
    assert sum(masks for _, masks in computed) == 35, "no mask twice"
    lines = (tmp_path / "adaptive.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == again
    other = benchmark.rows(make_problem(), tmp_path, {**ABOUT, "share": 0.2}, 1)
    assert other[0]["share"] == 0.2 and len((tmp_path / "adaptive.jsonl").read_text().splitlines()) == 3
