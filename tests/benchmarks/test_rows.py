"""Rows of a benchmark, and what a kill leaves of them."""

import json

from benchmarks.common import rows as row_file


def test_rows_are_added_and_a_line_that_a_kill_cut_is_removed(tmp_path):
    file = tmp_path / "rows.jsonl"
    assert row_file.begun(file) == row_file.begun(None) == []
    row_file.add(file, [{"a": 1}, {"a": 2}])
    file.write_text(file.read_text() + '{"a": 3')
    assert row_file.begun(file) == [{"a": 1}, {"a": 2}] and file.read_text() == '{"a": 1}\n{"a": 2}\n'
    row_file.add(file, [{"a": 4}])
    assert [json.loads(line)["a"] for line in file.read_text().splitlines()] == [1, 2, 4]
