"""The confusion matrix as text: each count is in it once, whatever the names and the width."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.cells import cell_len

from dvskit.cli._judging import matrix_lines
from dvskit.evaluation import Result, evaluate
from dvskit.training.scores import headlines


def result_of(confusion, names=None):
    names = [f"class {k}" for k in range(len(confusion))] if names is None else names
    return Result(tuple(names), np.asarray(confusion, np.int64), 0.1)


def random_result(classes, seed=0, names=None):
    counts = np.random.default_rng(seed).integers(0, 300, (classes, classes))
    return result_of(counts, names)


def numbers_in(line, columns):
    """The counts of a row: the words ahead of the share, "96.0 %"."""
    cells = line.split()[-2 - columns : -2]
    return [0 if cell == "." else int(cell.replace(",", "")) for cell in cells]


@pytest.mark.parametrize("width", [80, 120, 1000])
@pytest.mark.parametrize("classes", [1, 2, 5, 11])
def test_a_table_holds_the_matrix_and_the_share_of_each_row(classes, width):
    result = random_result(classes, classes)
    lines = matrix_lines(result, width)
    assert [numbers_in(line, classes) for line in lines[1:]] == result.confusion.tolist()
    for line, share in zip(lines[1:], result.per_class.values(), strict=True):
        assert line.endswith(f" {100 * share:.1f} %")
    assert max(map(cell_len, lines)) <= width


def test_columns_are_named_where_there_is_room_and_numbered_as_the_rows_are_elsewhere():
    result = result_of([[4, 1], [0, 1234]], ["hand clap", "right arm clockwise"])
    assert matrix_lines(result, 80) == [
        "true \\ answer        hand clap  right arm clockwise    right",
        "hand clap                    4                    1   80.0 %",
        "right arm clockwise          .                1,234  100.0 %",
    ]
    assert matrix_lines(result, 50) == [
        "true \\ answer          1      2    right",
        "1 hand clap            4      1   80.0 %",
        "2 right arm clockwise  .  1,234  100.0 %",
    ]


def test_where_no_table_fits_the_shares_and_the_worst_mistakes_are_listed():
    counts = np.eye(40, dtype=np.int64) * 50
    counts[3, 7], counts[9, 2] = 5, 8
    lines = matrix_lines(result_of(counts), 100)
    assert lines[3] == "  class 3: 90.9 %"
    assert lines[40:] == [
        "most frequent mistakes, of 13:",
        "  class 9 classified as class 2: 8",
        "  class 3 classified as class 7: 5",
    ]
    assert len(matrix_lines(random_result(40), 100)) == 40 + 1 + 10


def test_a_class_without_samples_has_no_row_but_a_column_if_it_was_answered():
    lines = matrix_lines(result_of([[0, 0], [3, 1]], ["a", "b"]), 80)
    assert lines == ["true \\ answer  a  b   right", "b              3  1  25.0 %"]


@pytest.mark.parametrize(
    "name", ["", "two\nlines", "\x1b[31mred\x1b[0m", "拍手" * 30, "x" * 200, "é̂", "a\tb"]
)
def test_no_name_breaks_a_line_or_colours_it(name):
    lines = matrix_lines(result_of([[1, 2], [3, 4]], [name, "other"]), 120)
    assert len(lines) == 3
    assert all("\n" not in line and "\x1b" not in line and "\t" not in line for line in lines)
    assert len({cell_len(line) for line in lines}) == 1
    assert [numbers_in(line, 2) for line in lines[1:]] == [[1, 2], [3, 4]]


def test_eval_prints_the_matrix_and_gives_its_rows_as_json(run, trained, bars):
    code, out, _ = run("eval", trained.folder, bars)
    assert code == 0
    result = evaluate(trained.model, bars)
    assert out.splitlines() == [*headlines(result), *matrix_lines(result)]
    assert headlines(result)[-1] == f"accuracy {result}"
    values = json.loads(run("eval", trained.folder, bars, "--json")[1])
    assert values["confusion"] == result.confusion.tolist()
    assert values["classes"] == ["left", "right"]
