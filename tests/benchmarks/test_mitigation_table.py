"""The mitigation benchmark's table: shares of the oracle, over seeds."""

import pathlib
import re

import pytest

from benchmarks.planted import mitigation_table


def row(way, seed, robust, images=100, **more):
    worst = {name: [1.0, robust] for name in ("as_in_training", "absent", "conflicting")}
    levels = {"noise": 0.2, "blur": 0.6}
    run = {"set": "high-32", "seed": seed, "model": "m", "steps": 30, "way": way}
    return run | {"robust": robust, "images": images} | worst | {"corrupted": levels, "fgsm": 0.3} | more


def test_a_line_has_medians_over_seeds_and_the_worst_of_them_and_no_share_where_the_oracle_fails():
    rows = [row("oracle", seed, 0.8) for seed in (0, 1, 2)]
    rows += [row("probe", seed, robust, 150) for seed, robust in enumerate((0.8, 0.4, 0.6))]
    rows += [row("afa", 0, 0.2), row("probe", 7, 0.0)]  # the last one has no oracle
    lines = mitigation_table.summarise(rows)["high-32", "m, 30 steps"]
    assert lines["probe"] == pytest.approx((3, 0.75, 0.5, 0.6, 0.6, 0.6, 0.4, 0.3, 1.5))
    assert lines["afa"].seeds == 1 and lines["afa"].share == pytest.approx(0.25) and lines["oracle"].worst == 1
    table = mitigation_table.markdown({("high-32", "m"): lines}).splitlines()
    assert [line.split(" | ")[2] for line in table[2:]] == ["oracle", "probe", "afa"]
    assert "| 0.750 | 0.500 |" in table[3] and table[3].endswith("| 1.50 |")
    lines = mitigation_table.summarise([row("oracle", 0, 0.0), row("afa", 0, 0.5)])
    assert lines["high-32", "m, 30 steps"]["afa"].share == 0 and not mitigation_table.summarise([row("afa", 0, 0.5)])


def test_the_page_of_results_has_the_numbers_of_the_published_rows():
    results = pathlib.Path(__file__).parents[2] / "docs" / "results"
    lines = mitigation_table.summarise(mitigation_table.read(results / "mitigation.jsonl"))
    page = (results / "mitigation.md").read_text()

    def line(kind, way, model="resnet10w16_imagenet, 1400 steps"):
        return lines[kind, model][way]

    probes = re.findall(r"^\| `(\w+)` \|(?: [\d.]+ \|){3} ([\d.]+) \| ([\d.]+) \| [^|]* \| [^|]*\|$", page, re.M)
    assert len(probes) == 8
    for kind, share, worst in probes:
        probe = line(f"{kind}-32", "probe")
        assert (probe.seeds, f"{probe.share:.3f}", f"{probe.worst:.3f}") == (5, share, worst), kind
    cell = r" (?:`\w+`|[\d.]+(?: \([\d.]+\))?) \|"
    header, *ways = re.findall(rf"^\| (?:way|`[\w ]+`) \|(?:{cell}){{8}}$", page, re.M)
    kinds = re.findall(r"`(\w+)`", header)
    assert len(kinds) == 8 and len(ways) == 4
    for row in ways:
        way, *shares = [cell.strip(" `") for cell in row.strip("|").split("|")]
        expected = [line(f"{kind}-32", way) for kind in kinds]
        assert shares == [f"{summary.share:.3f} ({summary.worst:.3f})" for summary in expected], way
    others = ("standard", "random orbits", "low pruned", "dfmx", "afa", "amplitude_dropout")
    of_kinds = {kind: [round(line(f"{kind}-32", way).share, 3) for way in others] for kind in kinds}
    *clean, dropout = of_kinds.pop("clean")
    some = of_kinds.pop("some")
    assert f"have {max(max(shares) for shares in of_kinds.values()):.3f} at most on the planted sets" in page
    assert f"{min(some):.3f} to {max(some):.3f} on `some`" in page
    assert f"{dropout:.3f} (0.081), the others {min(clean):.3f} to {max(clean):.3f}" in page
    for kind in ("high", "low"):
        probe = line(f"{kind}-32-of-12000", "probe", "vit_micro_patch4_gap, 6000 steps")
        shares = re.search(rf"\| `{kind}` \| 23, 24, 25 \| 6,000 \| ([\d., ]+) \|", page)[1].split(", ")
        assert sorted(map(float, shares))[:2] == [round(probe.worst, 3), round(probe.share, 3)], kind
