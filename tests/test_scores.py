"""What a result is worth: its interval, its confusion matrix, cautions, and unlike recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from dvskit.cli._judging import matrix_lines
from dvskit.evaluation import Result, classify_windows, evaluate
from dvskit.formats import save_events
from dvskit.models import load_model
from dvskit.models.scores import accuracy_text, headlines, mean_interval, near_chance, wilson
from dvskit.training import Trained
from tests.bars import SIZE, moving_bar
from tests.laws import scattered

# -- the interval of an accuracy

COUNTS = [1, 2, 3, 9, 20, 700, 10_000]


@pytest.mark.parametrize("samples", COUNTS)
def test_the_interval_is_scipys_and_mirrors_that_of_the_errors(samples: int) -> None:
    for correct in sorted({0, 1, samples // 3, samples // 2, samples - 1, samples}):
        known = binomtest(correct, samples).proportion_ci(0.95, method="wilson")
        low, high = wilson(correct, samples)
        assert (low, high) == pytest.approx((known.low, known.high), abs=1e-7)
        assert 0 <= low <= correct / samples <= high <= 1
        assert wilson(samples - correct, samples) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_no_sample_leaves_everything_open_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    for correct, samples in ((-1, 3), (4, 3), (0, -1)):
        with pytest.raises(ValueError, match=str(samples)):
            wilson(correct, samples)


@pytest.mark.parametrize(
    ("correct", "samples", "figures"),
    [
        (9, 9, "100 70 100"),
        (0, 9, "0 0 30"),
        (9740, 10_000, "97.40 97.07 97.69"),
    ],
)
def test_a_text_has_as_many_decimals_as_the_interval_allows(correct, samples, figures) -> None:
    share, low, high = figures.split()
    text = accuracy_text(correct, samples)
    assert text.startswith(f"{share} % of {samples:,} ")
    assert f"{low} to {high} %" in text


def test_the_interval_of_a_mean_is_that_of_its_only_share_and_narrows_with_more() -> None:
    one = wilson(7, 9)
    assert mean_interval([7 / 9], [one]) == pytest.approx(one)
    four = mean_interval([7 / 9] * 4, [one] * 4)
    assert four[1] - four[0] == pytest.approx((one[1] - one[0]) / 2)


# -- results


def result_of(confusion, names=None, seen: int = 0) -> Result:
    names = [f"class {k}" for k in range(len(confusion))] if names is None else names
    return Result(tuple(names), np.asarray(confusion, np.int64), 0.1, seen=seen)


def test_a_result_computes_its_shares_from_the_confusion() -> None:
    result = result_of([[8, 2], [1, 9]], ["a", "b"])
    assert (result.accuracy, result.correct, result.samples) == (0.85, 17, 20)
    assert result.interval_95 == wilson(17, 20)
    assert result.per_class == {"a": 0.8, "b": 0.9}


def of_accuracy(right: int, samples: int, classes: int, seen: int = 0) -> Result:
    confusion = np.zeros((classes, classes), np.int64)
    confusion[0, 0], confusion[0, 1] = right, samples - right
    return result_of(confusion, seen=seen)


@pytest.mark.parametrize(
    ("right", "samples", "classes", "near"),
    [(6, 56, 14, True), (31, 56, 14, False), (0, 5, 2, True), (52, 100, 2, True)],
)
def test_an_accuracy_near_chance_says_so_first(right, samples, classes, near):
    found = of_accuracy(right, samples, classes)
    assert bool(near_chance(found)) == near
    first, *others = headlines(found)
    assert (f"1/{classes} = {100 / classes:.1f} %" in first) == near
    assert len(others) == near


def test_an_accuracy_on_training_samples_is_never_the_headline():
    lines = headlines(of_accuracy(3, 3, 3, seen=3))
    assert lines[0].startswith("nothing was held out: ")
    assert lines[-1].startswith("accuracy on training samples ")
    assert headlines(of_accuracy(9, 9, 3, seen=2))[-1].startswith("accuracy ")


# -- the confusion matrix as text


def numbers_in(line: str, columns: int) -> list[int]:
    """The counts of a row: the words ahead of the share, "96.0 %"."""
    cells = line.split()[-2 - columns : -2]
    return [0 if cell == "." else int(cell.replace(",", "")) for cell in cells]


@pytest.mark.parametrize("width", [80, 1000])
@pytest.mark.parametrize("classes", [1, 2, 11])
def test_a_table_holds_the_matrix_and_the_share_of_each_row(classes, width):
    most = 300 if width == 80 else 3000
    result = result_of(np.random.default_rng(classes).integers(0, most, (classes, classes)))
    lines = matrix_lines(result, width)
    assert [numbers_in(line, classes) for line in lines[1:]] == result.confusion.tolist()
    for line, share in zip(lines[1:], result.per_class.values(), strict=True):
        assert line.endswith(f" {100 * share:.1f} %")
    assert max(map(len, lines)) <= width


def test_a_class_without_samples_has_no_row_but_a_column_if_it_was_answered():
    _, row = matrix_lines(result_of([[0, 0], [3, 1]], ["a", "b"]), 80)
    assert row.split() == ["b", "3", "1", "25.0", "%"]


@pytest.mark.parametrize("name", ["", "two\nlines", "\x1b[31mred\x1b[0m", "拍手" * 30, "a\tb"])
def test_no_name_breaks_a_line_or_colors_it(name):
    lines = matrix_lines(result_of([[1, 2], [3, 4]], [name, "other"]), 120)
    assert len(lines) == 3
    assert not any(character in "".join(lines) for character in "\n\x1b\t")
    assert [numbers_in(line, 2) for line in lines[1:]] == [[1, 2], [3, 4]]


def test_eval_prints_the_matrix_and_gives_its_rows_as_json(run, trained, bars):
    code, out, _ = run("eval", trained.folder, bars)
    assert code == 0
    result = evaluate(trained.model, bars)
    assert out.splitlines() == [*headlines(result), *matrix_lines(result)]
    values = json.loads(run("eval", trained.folder, bars, "--json")[1])
    assert values["confusion"] == result.confusion.tolist()
    assert values["classes"] == ["left", "right"]


# -- recordings that are unlike those that a model learned from


@pytest.mark.slow
def test_what_is_unlike_all_training_samples_is_noted_and_what_is_like_them_is_not(
    trained: Trained, tmp_path: Path, run
):
    like, unlike = tmp_path / "like.npz", tmp_path / "unlike.npz"
    save_events(moving_bar(True, 999), like)
    save_events(scattered(5_000, SIZE, span_us=8_400), unlike)
    code, out, err = run("classify", like, unlike, "--model", trained.folder, "--json")
    first, second = json.loads(out)
    assert (code, first["unlike_training"]) == (0, None)
    assert second["unlike_training"]
    assert err.count("is unlike") == 1
    assert str(unlike) in err
    held = [moving_bar(k % 2 == 0, 1_000 + k) for k in range(20)]
    assert not any(classify_windows(trained.model, each).unlike for each in held)
    assert load_model("nmnist-signed-lif").likeness is None
