"""Confidence intervals of accuracies, and their text."""

from __future__ import annotations

import math
from collections.abc import Sequence


def wilson(correct: int, samples: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as fractions in [0, 1].

    The interval holds all p with (correct / samples - p)^2 <= z^2 p (1 - p) / samples
    (E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    J. Am. Stat. Assoc. 22, 1927). With the default z it is the 95 % interval. It assumes
    independent samples. It is (0, 1) if `samples` is 0.

    Raises ValueError unless 0 <= correct <= samples.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} correct of {samples} samples; pass 0 <= correct <= samples")
    if samples == 0:
        return 0.0, 1.0
    share, more = correct / samples, z * z / samples
    middle = (share + more / 2) / (1 + more)
    half = z * math.sqrt((share * (1 - share) + more / 4) / samples) / (1 + more)
    low = 0.0 if correct == 0 else max(0.0, middle - half)
    high = 1.0 if correct == samples else min(1.0, middle + half)
    return low, high


def mean_interval(
    shares: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Return the interval of the mean of independent shares, from the interval of each.

    Distances from the shares to the ends of their intervals add up as standard errors do
    (G. Y. Zou and A. Donner, Construction of confidence limits about effect measures, Statistics
    in Medicine 27, 2008). For one share it is the interval itself.
    """
    mean = sum(shares) / len(shares)
    below = math.hypot(*(p - low for p, (low, _) in zip(shares, intervals, strict=True)))
    above = math.hypot(*(high - p for p, (_, high) in zip(shares, intervals, strict=True)))
    return mean - below / len(shares), mean + above / len(shares)


def accuracy_text(correct: int, samples: int) -> str:
    """Return an accuracy as text, such as "78 % of 9 (95 % interval 45 to 94 %)" for 7 of 9."""
    interval = wilson(correct, samples)
    share, low, high = percent_texts(correct / samples, *interval)
    return f"{share} % of {samples:,} (95 % interval {low} to {high} %)"


def percent_texts(share: float, low: float, high: float) -> tuple[str, str, str]:
    """Return a share and its interval in per cent, with as many decimals as the interval allows.

    An interval of 10 points or more gives no decimals, of 1 point or more one, else two. 0 and 1
    have no decimals.
    """
    decimals = 0 if high - low >= 0.1 else 1 if high - low >= 0.01 else 2
    first, *ends = (f"{100 * x:.{0 if x in (0, 1) else decimals}f}" for x in (share, low, high))
    return first, ends[0], ends[1]
