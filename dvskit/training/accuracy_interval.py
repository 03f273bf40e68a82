"""The interval of an accuracy that was measured on a number of samples."""

from __future__ import annotations

import math


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
