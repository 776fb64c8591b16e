"""The mitigation benchmark's table: shares of the oracle, over seeds."""

import json

import pytest

from benchmarks.planted import mitigation_table


def row(way, seed, robust, images=100, **more):
    worst = {name: [1.0, robust] for name in ("as_in_training", "absent", "conflicting")}
    levels = {"noise": 0.2, "blur": 0.6}
    common = {"set": "high-32", "model": "m", "way": way, "seed": seed, "robust": robust, "images": images}
    return common | worst | {"corrupted": levels, "fgsm": 0.3} | more


def test_a_line_has_medians_over_seeds_and_the_worst_of_them():
    rows = [row("oracle", seed, 0.8) for seed in (0, 1, 2)]
    rows += [row("probe", seed, robust, 150) for seed, robust in enumerate((0.8, 0.4, 0.6))]
    rows += [row("afa", 0, 0.2), row("probe", 7, 0.0)]  # the last one has no oracle
    lines = mitigation_table.summarise(rows)["high-32", "m"]
    assert lines["probe"] == pytest.approx((3, 0.75, 0.5, 0.6, 0.6, 0.6, 0.4, 0.3, 1.5))
    assert lines["afa"].seeds == 1 and lines["afa"].share == pytest.approx(0.25) and lines["oracle"].worst == 1
    table = mitigation_table.markdown({("high-32", "m"): lines}).splitlines()
    assert [line.split(" | ")[2] for line in table[2:]] == ["oracle", "probe", "afa"]
    assert "| 0.750 | 0.500 |" in table[3] and table[3].endswith("| 1.50 |")


def test_where_the_oracle_fails_nothing_is_a_share_of_it():
    lines = mitigation_table.summarise([row("oracle", 0, 0.0), row("afa", 0, 0.5)])
    assert lines["high-32", "m"]["afa"].share == 0 and not mitigation_table.summarise([row("afa", 0, 0.5)])


def test_the_figure_has_a_panel_a_set_with_a_row_a_way():
    rows = [row("oracle", 0, 0.5, set=name) for name in ("high-32", "low-32")] + [row("probe", 0, 0.4, 150)]
    figure = mitigation_table.draw(mitigation_table.summarise(rows))
    assert [axis.get_title() for axis in figure.axes] == ["high-32", "low-32"]
    assert figure.get_supxlabel().startswith("m: share")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["probe", "oracle"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.0", "1.5"]
    figure = mitigation_table.draw(mitigation_table.summarise([*rows, row("oracle", 0, 0.5, model="vit")]))
    assert [axis.get_title() for axis in figure.axes] == ["high-32\nm", "high-32\nvit", "low-32\nm"]


def test_runs_of_other_steps_and_strengths_are_other_lines(tmp_path):
    for folder in ("high-32-2/a-1-30-oracle", "high-32-2/a-1-60-oracle", "high-32-2-0.5/a-1-30-oracle"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "row.json").write_text(json.dumps({"seed": 2, "model": "a-1"}))
    found = [(row["set"], row["model"]) for row in mitigation_table.read(tmp_path)]
    assert sorted(found) == [
        ("high-32", "a-1, 30 steps"),
        ("high-32", "a-1, 60 steps"),
        ("high-32-0.5", "a-1, 30 steps"),
    ]
