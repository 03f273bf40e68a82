"""The interval of an accuracy."""

import pytest
from scipy.stats import binomtest

from dvskit.training.scores import accuracy_text, mean_interval, wilson

COUNTS = [1, 2, 3, 5, 9, 10, 20, 100, 700, 10_000]


@pytest.mark.parametrize("samples", COUNTS)
def test_the_interval_is_scipys(samples: int) -> None:
    for correct in sorted({0, 1, samples // 3, samples // 2, samples - 1, samples}):
        known = binomtest(correct, samples).proportion_ci(0.95, method="wilson")
        assert wilson(correct, samples) == pytest.approx((known.low, known.high), abs=1e-7)


@pytest.mark.parametrize("samples", COUNTS)
def test_the_interval_holds_the_accuracy_and_mirrors_that_of_the_errors(samples: int) -> None:
    for correct in range(0, samples + 1, max(1, samples // 10)):
        low, high = wilson(correct, samples)
        assert 0 <= low <= correct / samples <= high <= 1
        assert wilson(samples - correct, samples) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_no_sample_leaves_everything_open() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "samples"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(correct: int, samples: int) -> None:
    with pytest.raises(ValueError, match="correct of"):
        wilson(correct, samples)


@pytest.mark.parametrize(
    ("correct", "samples", "words"),
    [
        (9, 9, "100 % of 9 (95 % interval 70 to 100 %)"),
        (0, 9, "0 % of 9 (95 % interval 0 to 30 %)"),
        (199, 200, "99.5 % of 200 (95 % interval 97.2 to 99.9 %)"),
        (9740, 10_000, "97.40 % of 10,000 (95 % interval 97.07 to 97.69 %)"),
    ],
)
def test_the_words_have_as_many_decimals_as_the_interval_allows(
    correct: int, samples: int, words: str
) -> None:
    assert accuracy_text(correct, samples) == words


def test_the_interval_of_a_mean_is_that_of_its_only_share_and_narrows_with_more() -> None:
    one = wilson(7, 9)
    assert mean_interval([7 / 9], [one]) == pytest.approx(one)
    four = mean_interval([7 / 9] * 4, [one] * 4)
    assert four[1] - four[0] == pytest.approx((one[1] - one[0]) / 2)
