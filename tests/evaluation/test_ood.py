"""Out of distribution: rates against single images in float64, mappings, restarts, and what is refused at the door."""

import copy
import dataclasses
import itertools
import pathlib
import re

import numpy as np
import pytest
import timm
from scipy.stats import binomtest

from configs import common
from fsjax import data
from fsjax.evaluation import evaluate, ood, rates
from fsjax.evaluation.ood import corruptions, counting, mapping, sets
from fsjax.evaluation.ood.results import InDistribution, SetResult, average_tpr
from fsjax.evaluation.results import Rates, read_evaluation
from fsjax.experiment.stage import Workspace
from fsjax.experiment.stages.evaluate import OOD
from fsjax.fourier import masks
from fsjax.report import sections
from fsjax.runtime import files
from fsjax.runtime.random_streams import Stream, generator
from tests.helpers import results
from tests.helpers.data_config import save_images
from tests.helpers.linear_classifier import MEAN_STD, make_classifier, make_maps
from tests.helpers.plane import real, spectra
from tests.helpers.refused import refused

SIZE = 8
CLASSES, FOLDERS = ("cat", "dog", "ship"), ("n1", "n2", "n3")
WEIGHTS = np.random.default_rng(1).normal(size=(SIZE * SIZE * 3, 4)).astype(np.float32)  # one output is no class


def save(folder, count, seed, first=0):
    """PNGs of noise, as the array that they decode to."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    save_images(folder, pixels, first=first)
    return pixels


def write(path, text):
    path.write_text(text)
    return path


RENDITIONS = """
name: Renditions
layout: "set/{rendition}/{class}"
groups:
  rendition: [art, toy]
classes:
  cat: [tabby, tiger]
  n2: wolf
"""


class World:
    """A classifier with maps, its test images in folders, and sets that it was not made for."""

    def __init__(self, root):
        self.root, self.images = root, {}
        for label, (folder, count) in enumerate(zip(FOLDERS, (5, 4, 6), strict=True)):
            self.images["test", label] = save(root / "data" / "test" / folder, count, seed=label)
        for number, rendition in enumerate(("art", "toy")):
            above = root / "elsewhere" / "set" / rendition
            for name, label, count in (("tabby", 0, 2), ("tiger", 0, 3), ("wolf", 1, 4 + number)):
                made = save(above / name, count, seed=10 * number + len(name) + 100)
                known = self.images.get((rendition, label), made[:0])
                self.images[rendition, label] = np.concatenate([known, made])
        self.mapping = write(root / "renditions.yaml", RENDITIONS)
        text = RENDITIONS.replace("Renditions", "Restricted") + "restrict: true"
        self.restricted = write(root / "restricted.yaml", text)
        self.config = common.base()
        self.config.data.source, self.config.data.root = "folder", str(root / "data")
        self.config.data.classes = ",".join(f"{folder}={name}" for folder, name in zip(FOLDERS, CLASSES, strict=True))
        self.config.data.image_size = SIZE
        self.config.evaluate.pairs = self.config.ood.random_masks = 0
        self.config.report.share = 0.2
        self.test = data.load(self.config.data, "test", 0)
        model = make_classifier(3)
        self.classifier = dataclasses.replace(model, params=WEIGHTS, classes=CLASSES)
        self.maps = dataclasses.replace(make_maps(3), classes=CLASSES)
        self.directory = root / "run"
        evaluate.run(self.config, self.directory, self.classifier, self.maps, self.test)

    def asking(self, folders="", attacks="", images_per_class=0, random_masks=0):
        """The config with these fields of ood."""
        config = copy.deepcopy(self.config)
        config.ood.sets, config.ood.attacks = folders, attacks
        config.ood.images_per_class, config.ood.random_masks = images_per_class, random_masks
        return config

    def judge(self, *args, identity=(), **kwargs):
        """What the stage leaves for these fields of ood."""
        config = self.asking(*args, **kwargs)
        ood.check(config)
        ood.run(config, self.directory, self.classifier, self.maps, self.test, {"inputs": list(identity)})
        return files.read_json(self.directory / "ood" / "removal.json")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "ENERGY_IMAGES", 3)
        yield World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def found(world):
    """Everything at once, as a user asks for it."""
    elsewhere = world.root / "elsewhere"
    folders = f"{world.mapping}={elsewhere},{world.restricted}={elsewhere},same={world.root / 'data' / 'test'}"
    return world.judge(folders, "fgsm:8/255")


def predicted(levels, mask=None, allowed=(0, 1, 2, 3)):
    """The class of each image, one by one in float64: filtered by a mask, the largest of some outputs."""
    outcome = []
    for image in np.asarray(levels, float):
        pixels = (image / 255 - MEAN_STD[0]) / MEAN_STD[1]
        if mask is not None:
            pixels = real(spectra(pixels) * mask[..., None])
        logits = pixels.ravel() @ WEIGHTS.astype(float)
        outcome.append(max(allowed, key=lambda output: logits[output]))
    return np.array(outcome)


def looped(world, images, allowed=(0, 1, 2, 3), pool=slice(None)):
    """Rates of images {label: levels} by class, as the stage writes them, each counted by itself.

    FPR of filtered images is of the `pool` alone, indices into the images in the order of their classes.
    """
    labels = np.concatenate([np.full(len(levels), label) for label, levels in images.items()])
    levels = np.concatenate(list(images.values()))
    plain = predicted(levels, allowed=allowed)
    rows = {
        name: {"tpr": [None] * 3, "tpr_ci": [[None] * 2] * 3, "fpr": [None] * 3, "others": [0] * 3}
        for name in ("unfiltered", "filtered")
    }
    for label in images:
        own = predicted(levels, world.maps.at(0.2)[label], allowed)
        for name, calls in (("unfiltered", plain), ("filtered", own)):
            is_class = labels == label
            right = calls[is_class] == label
            rows[name]["tpr"][label] = right.mean()
            rows[name]["tpr_ci"][label] = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
            others = calls[pool][~is_class[pool]] if name == "filtered" else calls[~is_class]
            rows[name]["fpr"][label] = (others == label).mean() if len(others) else None
            rows[name]["others"][label] = len(others)
    return {"images": [len(images.get(label, ())) for label in range(3)], "accuracy": (plain == labels).mean(), **rows}


def assert_rates(one, expected):
    assert one["images"] == expected["images"] and one["accuracy"] == pytest.approx(expected["accuracy"])
    for name in ("unfiltered", "filtered"):
        for rate in ("tpr", "fpr", "others"):
            assert one[name][rate] == pytest.approx(expected[name][rate])
        limits = [np.array(of[name]["tpr_ci"], float) for of in (one, expected)]
        np.testing.assert_allclose(*limits, atol=1e-12)


@pytest.mark.parametrize(("name", "allowed"), [("Renditions", (0, 1, 2, 3)), ("Restricted", (0, 1))])
def test_a_set_and_its_groups_are_counted_image_by_image(world, found, name, allowed):
    one = found["sets"][name]
    for rendition in ("art", "toy"):
        images = {label: world.images[rendition, label] for label in (0, 1)}
        assert_rates(one["groups"]["rendition"][rendition], looped(world, images, allowed))
    both = {label: np.concatenate([world.images[group, label] for group in ("art", "toy")]) for label in (0, 1)}
    assert_rates(one, looped(world, both, allowed))
    assert one["images"] == [10, 9, 0] and one["filtered"]["tpr"][2] is None and one["filtered"]["fpr"][2] is None
    assert one["restricted"] == (name == "Restricted")


def test_the_test_folder_has_the_rates_of_the_stage_evaluate_and_groups_the_average_tpr(world, found):
    one, own = found["sets"]["test"], found["in_distribution"]
    for field in ("images", "accuracy", "unfiltered", "filtered", "average_tpr"):
        assert one[field] == own[field]
    evaluation = files.read_json(world.directory / "evaluation.json")
    assert_rates(own, looped(world, {label: world.images["test", label] for label in range(3)}))
    names = ("tpr", "tpr_ci", "fpr", "fpr_ci", "others")
    assert own["filtered"] == {name: evaluation["methods"]["removal"]["shares"]["0.2"][name] for name in names}
    assert found["share"] == 0.2 and found["threshold"] == 0.6 and found["searched_on"] == "train"
    assert found["sets"]["Renditions"]["accuracy"] < found["sets"]["Restricted"]["accuracy"], "restricting matters"
    one = found["sets"]["Restricted"]  # whose own TPR would group classes otherwise
    rates = (own["filtered"], one["filtered"], one["unfiltered"])
    expected = average_tpr(*(np.array(rate["tpr"], float) for rate in rates))
    assert one["average_tpr"] == [dataclasses.asdict(point) for point in expected]
    assert any(point["shortcut"]["classes"] for point in one["average_tpr"])


def attacked(world):
    """The test images of each class after the fast gradient sign attack of radius 8/255, in float64."""
    changed = {}
    for label in range(3):
        levels = world.images["test", label].astype(float)
        pixels = ((levels / 255 - MEAN_STD[0]) / MEAN_STD[1]).reshape(len(levels), -1)
        logits = pixels @ WEIGHTS.astype(float)
        probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        gradient = (probabilities - np.eye(4)[label]) @ WEIGHTS.T.astype(float)
        changed[label] = np.clip(levels + 8 * np.sign(gradient).reshape(levels.shape), 0, 255)
    return changed


def test_attacked_images_are_filtered_like_any_others(world, found):
    one = found["sets"]["fgsm:8/255"]
    assert_rates(one, looped(world, attacked(world)))
    assert one["accuracy"] < found["in_distribution"]["accuracy"]
    assert one["made_of"] == {"attack": "fgsm:8/255", "images": 15}


def test_corrupted_images_are_a_set_with_a_group_a_corruption_and_a_severity(world):
    config = world.asking()
    config.ood.corruptions = "contrast, blur"
    ood.check(config)
    ood.run(config, world.directory, world.classifier, world.maps, world.test, {"inputs": ["corrupted"]})
    one = files.read_json(world.directory / "ood" / "removal.json")["sets"]["corruptions"]
    rng = np.random.default_rng(0)  # neither draws

    def images(name, severity):
        corrupt = corruptions.CORRUPTIONS[name]
        of_class = {label: world.images["test", label].astype(float) for label in range(3)}
        return {
            label: np.rint(np.clip([corrupt(image, severity, rng) for image in levels], 0, 255))
            for label, levels in of_class.items()
        }

    every = [images(name, severity) for name in ("contrast", "blur") for severity in range(5)]
    rows = [looped(world, each) for each in every]
    mean = np.mean([row["accuracy"] for row in rows])
    assert one["images"] == [50, 40, 60] and one["accuracy"] == pytest.approx(mean)
    for name, of_name in (("contrast", rows[:5]), ("blur", rows[5:])):
        found = one["groups"]["corruption"][name]
        assert found["accuracy"] == pytest.approx(np.mean([row["accuracy"] for row in of_name]))
        assert found["filtered"]["tpr"] == pytest.approx(np.mean([row["filtered"]["tpr"] for row in of_name], axis=0))
    for rate in ("tpr", "fpr"):
        np.testing.assert_allclose(one["filtered"][rate], np.mean([row["filtered"][rate] for row in rows], axis=0))
    # Copies of one picture are no further evidence: intervals are those of the test images.
    for rate, interval, n in zip(one["filtered"]["tpr"], one["filtered"]["tpr_ci"], (5, 4, 6), strict=True):
        z = 1.959963984540054
        half = z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
        np.testing.assert_allclose(interval, [centre - half, centre + half], atol=1e-12)
    for number in range(5):
        found = one["groups"]["severity"][str(number + 1)]
        assert found["accuracy"] == pytest.approx((rows[number]["accuracy"] + rows[5 + number]["accuracy"]) / 2)


def test_the_first_images_of_each_class_and_group_are_judged_and_what_a_set_is_made_of_is_recorded(world, found):
    made_of = found["sets"]["Renditions"]["made_of"]
    assert made_of["images"] == 19 and made_of["root"] == str(world.root / "elsewhere")
    assert len(made_of["sha256"]) == 64 and made_of["sha256"] == found["sets"]["Restricted"]["made_of"]["sha256"]
    assert made_of["sha256"] != found["sets"]["test"]["made_of"]["sha256"]
    one = world.judge(f"{world.mapping}={world.root / 'elsewhere'}", "fgsm:8/255", images_per_class=2)["sets"]
    first = {label: np.concatenate([world.images[group, label][:2] for group in ("art", "toy")]) for label in (0, 1)}
    assert_rates(one["Renditions"], looped(world, first))
    assert one["fgsm:8/255"]["images"] == [2, 2, 2] and one["Renditions"]["made_of"]["images"] == 8


def test_every_part_of_a_large_set_is_judged_once_and_maps_filter_the_pool_and_their_class(world, monkeypatch):
    whole = world.judge(f"same={world.root / 'data' / 'test'}", "pgd:2/255:2")["sets"]
    monkeypatch.setattr(sets, "PART", 4)
    again = world.judge(f"same={world.root / 'data' / 'test'}", "pgd:2/255:2", identity=["anew"])["sets"]
    assert again == whole
    assert [part.size for part in sets.open_test(world.asking(), world.test).parts] == [4, 4, 4, 3]
    monkeypatch.setattr(rates, "POOL", 7)
    monkeypatch.setattr(sets, "PAIRS", 10)  # of images and three maps
    parts = sets.open_test(world.asking(), world.test).parts
    assert [(part.size, part.pooled) for part in parts] == [(3, True), (3, True), (1, True), (4, False), (4, False)]
    one = world.judge(f"same={world.root / 'data' / 'test'}", "pgd:2/255:2", identity=["pool"])["sets"]["test"]
    images = {label: world.images["test", label] for label in range(3)}
    assert_rates(one, looped(world, images, pool=rates.draw_pool(15, 0)))


CONTROLS = ("low_pass_tpr", "highest_energy_tpr", "random_tpr", "radial_tpr")


def controls_of(world, label, random_masks):
    """The masks of each kind; the energy is of the first three test images."""
    pixels = (world.images["test", label][:3] / 255 - MEAN_STD[0]) / MEAN_STD[1]
    energy = np.abs(spectra(pixels)) ** 2
    own = world.maps.at(0.2)[label]
    size = int(own.sum())
    size += size == int(0.2 * SIZE * SIZE) - 1  # the position that whole orbits left over
    rng = generator(0, Stream.RADIAL_CONTROLS, label)
    kinds = (
        [masks.low_pass(SIZE, SIZE, size)],
        [masks.best_orbits(energy.mean((0, 3)), size)],
        [masks.random(SIZE, SIZE, size, generator(0, Stream.RANDOM_CONTROLS, index)) for index in range(random_masks)],
        [masks.radial_matched(own, rng) for _ in range(random_masks)],
    )
    return dict(zip(CONTROLS, kinds, strict=True))


@pytest.mark.usefixtures("undrawn")
def test_maps_stand_beside_masks_of_their_size_on_the_classs_own_images(world, found):
    elsewhere = world.root / "elsewhere"
    folders = f"{world.mapping}={elsewhere},{world.restricted}={elsewhere}"
    result = world.judge(folders, "fgsm:8/255", random_masks=2)
    judged, kinds = result["sets"], [controls_of(world, label, 2) for label in range(3)]

    def expected(rate, levels, label, allowed=(0, 1, 2, 3)):
        return np.mean([predicted(levels, mask, allowed) == label for mask in kinds[label][rate]])

    for name, allowed in (("Renditions", (0, 1, 2, 3)), ("Restricted", (0, 1))):
        one = judged[name]
        for part, chosen in ((one["groups"]["rendition"]["art"], ("art",)), (one, ("art", "toy"))):
            own = [np.concatenate([world.images[group, label] for group in chosen]) for label in (0, 1)]
            for rate in CONTROLS:
                of_class = [expected(rate, levels, label, allowed) for label, levels in enumerate(own)]
                assert part["controls"][rate][:2] == pytest.approx(of_class) and part["controls"][rate][2] is None
    rates = [judged[name]["controls"][rate][:2] for name in ("Renditions", "Restricted") for rate in CONTROLS]
    assert len({tuple(one) for one in rates}) > 4, "the comparison means something"
    for rate in CONTROLS:
        of_class = [expected(rate, levels, label) for label, levels in attacked(world).items()]
        assert judged["fgsm:8/255"]["controls"][rate] == pytest.approx(of_class)
    of_fewer = world.judge("", "fgsm:8/255", random_masks=2, images_per_class=2)
    own, fewer = result["in_distribution"], of_fewer["in_distribution"]
    for one, images in ((own, slice(None)), (fewer, slice(2))):
        for rate in CONTROLS:
            of_class = [expected(rate, world.images["test", label][images], label) for label in range(3)]
            assert one["controls"][rate] == pytest.approx(of_class)
    assert own["controls"] != fewer["controls"], "the comparison means something"
    for one, without in ((own, found["in_distribution"]), *((judged[name], found["sets"][name]) for name in judged)):
        for field in ("images", "accuracy", "unfiltered", "filtered"):
            assert one[field] == without[field], "nothing else is another than without them"
    assert result["random_masks"] == 2 and found["sets"]["Renditions"]["controls"] is None
    assert found["in_distribution"]["controls"] is None
    files.write_json(world.directory / "ood" / "removal.json", result)

    section = sections.ood_section(world.directory, world.maps, 0.2)
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr[^>]*>(.*?)</tr>", section.body)]
    (cat,) = (row for row in rows if row[0] == "cat")
    for name in ("Renditions", "Restricted"):
        assert f"{max(judged[name]['controls'][rate][0] for rate in CONTROLS[:2]):.3f}" in cat
        assert all(f"{judged[name]['controls'][rate][0]:.3f}" in cat for rate in CONTROLS[2:])
    assert "trivial mask" in section.body and "Random: mean over random masks, 2 on a set; radial" in section.body
    assert "trivial mask" not in section_of(world, found)


def test_maps_that_are_not_constant_on_orbits_have_no_radial_controls():
    single = np.zeros((3, SIZE, SIZE), bool)
    single[:, 0, 1] = True
    assert list(counting.control_kinds(single, 3)) == list(CONTROLS[:3]) and not counting.control_kinds(single, 0)


def section_of(world, found):
    files.write_json(world.directory / "ood" / "removal.json", found)
    return sections.ood_section(world.directory, world.maps, 0.2).body


REPEATED = """
layout: "{severity}/{class}"
groups:
  severity: [1, 2]
classes: same
repeated: true
"""


def test_a_picture_of_a_repeated_set_counts_once_and_its_places_have_as_many_images_each(world):
    root = world.root / "corrupted"
    for severity, folder in itertools.product("12", FOLDERS):
        save(root / severity / folder, 4, seed=len(folder))
    asked = f"{write(world.root / 'corrupted.yaml', REPEATED)}={root}"
    one = world.judge(asked)["sets"]["corrupted"]["filtered"]
    for rate, interval in zip(one["tpr"], one["tpr_ci"], strict=True):
        assert interval == pytest.approx(binomtest(round(4 * rate), 4).proportion_ci(method="wilson"), abs=1e-12)
    (root / "2" / "n2" / "000.png").unlink()
    refused(r"got 3 images in .*2/n2; expected 4 as in the set's first place", world.judge, asked)


def test_a_killed_run_goes_on_with_the_parts_that_it_lacks_and_other_images_are_counted_anew(world, monkeypatch):
    root = world.root / "again"
    for rendition in ("art", "toy"):
        for name in ("tabby", "tiger", "wolf"):
            save(root / "set" / rendition / name, 2, seed=len(name))
    asked = f"{world.mapping}={root}"
    counted, part_counter = [], counting.Counter._part_counter

    def counting_parts(counter, image_set, controls_only):
        count = part_counter(counter, image_set, controls_only)

        def watched(part):
            counted.append("/".join(part.groups.values()))
            if stops and len(counted) == 2:
                raise KeyboardInterrupt
            return count(part)

        return watched

    monkeypatch.setattr(counting.Counter, "_part_counter", counting_parts)
    stops = True
    with pytest.raises(KeyboardInterrupt):
        world.judge(asked, identity=["a"])
    stops = False
    whole = world.judge(asked, identity=["a"])
    assert counted == ["art", "toy", "toy"]
    assert world.judge(asked, identity=["a"]) == whole and len(counted) == 3
    world.judge(asked, identity=["another model"])
    assert len(counted) == 5
    save(root / "set" / "art" / "wolf", 1, seed=9, first=7)
    assert world.judge(asked, identity=["another model"])["sets"]["Renditions"]["images"] == [8, 5, 0]
    assert len(counted) == 7
    world.judge(asked, identity=["another model"], images_per_class=1)
    assert len(counted) == 9


def test_a_place_of_which_no_image_decodes_is_refused_in_one_line(world):
    config = world.asking(f"same={world.root / 'spoiled'}")
    config.data.skip_undecodable = True
    for folder in FOLDERS:
        save(world.root / "spoiled" / folder, 1, seed=0)
        (world.root / "spoiled" / folder / "000.png").write_bytes(b"no picture")
    message = "spoiled: got no image that decodes .n1/000.png, n2/000.png, n3/000.png.; expected"
    refused(message, ood.accuracies, config, world.directory / "spoiled", world.classifier, world.test, {})


def test_the_section_shows_what_was_found(world, found):
    body = section_of(world, found)
    assert world.directory / "ood" / "removal.json" in sections.inputs(world.directory, "removal")
    text = re.sub(r"<[^>]*>", " ", body)
    for name, one in found["sets"].items():
        assert f"{name}: accuracy {one['accuracy']:.3f}, in distribution" in text
        for rate in (*one["unfiltered"]["tpr"], *one["filtered"]["tpr"]):
            assert (f"{rate:.3f}" if rate is not None else "–") in text
    assert "The logits of classes that are not in the set are ignored on Restricted." in " ".join(text.split())
    assert "data:image/webp;base64," in body and "stability" not in body
    iou = {name: [[value] * 3] for name, value in (("mean", 0.625), ("low", 0.5), ("high", 0.75))}
    told = {"stability": {"resamples": 3, "shares": [0.2], "iou": iou}}
    section = sections.ood_section(world.directory, dataclasses.replace(world.maps, provenance=told), 0.2)
    text = " ".join(re.sub(r"<[^>]*>", " ", section.body).split())
    assert "stability of its map (IoU)" in text and "cat 0.625 [0.500, 0.750]" in text


@pytest.mark.usefixtures("undrawn")
def test_the_section_names_the_verdict_of_each_class(world, found, tmp_path):
    files.write_json(tmp_path / "ood" / "removal.json", found)
    evaluation = read_evaluation(world.directory / "evaluation.json")
    results.write(tmp_path, evaluation)
    assert "verdict" not in sections.ood_section(tmp_path, world.maps, 0.2).body
    grafts = results.grafts(CLASSES, ("shortcut by phase", "spread", "undecided"), share=0.2)
    judged = dataclasses.replace(evaluation.methods["removal"], grafts=grafts)
    results.write(tmp_path, dataclasses.replace(evaluation, methods={"removal": judged}))
    body = sections.ood_section(tmp_path, world.maps, 0.2).body
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row)[:2] for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body)]
    said = {row[0]: row[1] for row in rows if row and row[0] in CLASSES}
    assert said == {"cat": "shortcut by phase", "dog": "spread", "ship": "undecided"}
    assert 'title="cat: shortcut by phase: made up."' in body


def rated(kind, tpr, unfiltered, images=100, **others):
    """Rates of four classes, some of which a set may lack, with intervals of +-0.05."""

    def with_interval(values):
        limits = np.clip(np.stack([values - 0.05, values + 0.05], axis=1), 0, 1)
        return Rates(values, limits, np.zeros(len(values)), limits, np.full(len(values), 3 * images))

    tpr, unfiltered = np.array(tpr, float), np.array(unfiltered, float)
    rates = with_interval(unfiltered), with_interval(tpr)
    return kind(images * np.isfinite(tpr), 0.5, *rates, None, average_tpr(tpr, tpr, unfiltered), **others)


def test_the_sentence_of_a_set_names_the_classes_above_the_threshold_that_it_has():
    own, names = rated(InDistribution, [0.9, 0.7, 0.2, 0.8], [0.8, 0.6, 0.9, 0.7]), ("a", "b", "c", "d")
    others = {"restricted": False, "made_of": {}, "groups": {}}
    one = rated(SetResult, [0.5, 0.3, 0.1, None], [0.2, 0.25, 0.4, None], **others)
    said = sections.ood_sentence("Set", one, own, names, 0.6)
    assert said == (
        "Set: accuracy 0.500, in distribution 0.500. a, b (in distribution TPR > 0.6 under their maps): "
        "mean TPR there 0.400, in distribution 0.800; unfiltered 0.225, in distribution 0.700. The other classes: "
        "under their maps 0.100, in distribution 0.200; unfiltered 0.400, in distribution 0.900. a: the map's "
        "frequencies alone serve better there than the whole image."
    )
    assert sections.ood_sentence("Set", one, own, names, 0.95).endswith(
        "None of its classes has a TPR above 0.95 under its map in distribution."
    )


def test_a_changed_mapping_is_another_set(world):
    workspace = Workspace(world.asking(f"{world.mapping}={world.root / 'elsewhere'}"), world.directory)
    assert OOD.reads(workspace) == [world.mapping]


def test_the_shipped_mappings_are_those_of_their_sets():
    read = {name: mapping.read(mapping.find(name)) for name in mapping.SHIPPED}
    assert set(read) == {"imagenet_sct", "imagenet_v2", "imagenet_r", "imagenet_sketch", "imagenet_c", "same"}
    info = pathlib.Path(timm.__file__).parent / "data" / "_info"
    wordnet_ids = (info / "imagenet_synsets.txt").read_text().split()
    assert read["imagenet_v2"].classes == {wnid: (f"{place}",) for place, wnid in enumerate(sorted(wordnet_ids))}
    assert read["imagenet_v2"].layout == ("{class}",) and not read["imagenet_v2"].restrict
    renditions = sorted((info / "imagenet_r_synsets.txt").read_text().split())
    assert sorted(read["imagenet_r"].classes) == renditions and read["imagenet_r"].restrict
    assert all(folders == (wnid,) for wnid, folders in read["imagenet_r"].classes.items())
    sct = read["imagenet_sct"]
    displays = [display for _, display in data.source.parse_classes(common.IMAGENET10_CLASSES)]
    assert list(sct.classes) == displays and [len(folders) for folders in sct.classes.values()] == [1] * 10
    assert sct.classes["zebra"] == ("horse",) and sct.classes["trailer truck"] == ("fire truck",)
    assert sct.groups == {"rendition": ("art", "cartoon", "deviant art", "painting", "sculpture", "sketch", "toy")}
    corruptions, severities = read["imagenet_c"].groups.values()
    assert len(corruptions) == 15 and severities == ("1", "2", "3", "4", "5") and read["imagenet_c"].repeated
    assert read["imagenet_sketch"].classes is None and read["same"].classes is None


def test_folders_named_like_yaml_values_keep_their_names(tmp_path):
    text = 'layout: "{class}"\nclasses: {cat: 007, no: on, dog: [1e3, 2020-01-01, ~]}'
    found = mapping.read(write(tmp_path / "m.yaml", text))
    assert found.classes == {"cat": ("007",), "no": ("on",), "dog": ("1e3", "2020-01-01", "~")}
    assert found.name == "m" and not (found.subset or found.restrict or found.repeated)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b", "got ['a', 'b']; expected a YAML mapping with the fields name, layout"),
        ("layout: [", "not YAML of text, lists and mappings"),
        ("layout: '{class}'\nclasses: same\nlayers: 3", "field: got 'layers'; expected name, layout"),
        ("classes: same", "layout: got None; expected text of one line"),
        ("layout: '{class}'", "classes: got None; expected same, a list of folders"),
        ("layout: '{class}'\nclasses: {[a]: b}", "not YAML of text"),
        ("layout: '{class}'\nclasses: same\nrestrict: yes", "restrict: got 'yes'; expected true or false"),
        ("layout: '{class}/{group}'\nclasses: same", "between slashes, last {class}"),
        ("layout: '../{class}'\nclasses: same", "layout: got '..'; expected the name of one folder, not a path"),
        ("layout: '{a}/{class}'\nclasses: same", "groups: got {}; expected folders for each placeholder of layout: a"),
        ("layout: '{a}/{class}'\nclasses: same\ngroups: {a: ['..']}", "groups.a: got '..'; expected"),
        ("layout: '{class}'\nclasses: other", "classes: got 'other'; expected same, a list of folders"),
        ("layout: '{class}'\nclasses: {cat: []}", "classes.cat: got []; expected one or more different folders"),
        ('layout: "{class}"\nclasses: same\nname: "a\\nb"', "name: got 'a\\nb'; expected text of one line"),
        ("layout: '{class}'\nclasses: {cat: /etc}", "classes.cat: got '/etc'; expected the name of one folder, not a"),
    ],
)
def test_a_yaml_that_is_no_mapping_is_refused_in_one_line(tmp_path, text, said):
    refused(f"m.yaml: .*{re.escape(said)}|m.yaml: {re.escape(said)}", mapping.read, write(tmp_path / "m.yaml", text))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "ood.sets, ood.attacks, ood.corruptions: got nothing; expected MAPPING=ROOT, an attack"),
        ({"folders": "imagenet_r"}, "ood.sets: got 'imagenet_r'; expected MAPPING=ROOT"),
        ({"folders": "imagenet_x={root}"}, "ood.sets: got 'imagenet_x'; expected a .yaml file, or one of imagenet_c"),
        ({"folders": "{root}/none.yaml={root}"}, "none.yaml'; expected a .yaml file"),
        ({"folders": "same={root}/nowhere"}, "same: got {root}/nowhere; expected the folder that holds the set"),
        ({"folders": "same={root}/data/test,same={root}/./data/test"}, "ood: got two sets called 'test'; expected"),
        ({"folders": "{root}/named.yaml={root}/elsewhere"}, "ood: got two sets called 'in-distribution'; expected"),
        ({"folders": "same={root}/elsewhere"}, "3 of 3 class folders in {root}/elsewhere missing or without an"),
        (
            {"folders": "{root}/renditions.yaml={root}/partly"},
            "missing or without an image: set/toy/tabby, set/toy/tiger, set/toy/wolf; expected images (.jpg",
        ),
        ({"folders": "{root}/wrong.yaml={root}/elsewhere"}, "classes: got 'dogg'; expected cat, dog, ship (did"),
        ({"folders": "imagenet_r={root}/elsewhere"}, "imagenet_r: got no class of the model"),
        ({"folders": "same={root}/hollow"}, "1 of 3 class folders in {root}/hollow missing or without an image: n2;"),
        ({"attacks": "cw:4/255"}, "ood.attacks: got 'cw:4/255'; expected"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line_before_any_work(world, fields, said):
    for name in ("tabby", "tiger", "wolf"):
        save(world.root / "partly" / "set" / "art" / name, 1, seed=0)
    for name in FOLDERS:
        save(world.root / "hollow" / name, int(name != "n2"), seed=0)
    write(world.root / "named.yaml", RENDITIONS.replace("Renditions", "In distribution"))
    write(world.root / "wrong.yaml", 'layout: "{class}"\nclasses: {cat: tabby, dogg: wolf}')
    fields = {name: value.replace("{root}", str(world.root)) for name, value in fields.items()}
    refused(re.escape(said.replace("{root}", str(world.root))), ood.check, world.asking(**fields))
