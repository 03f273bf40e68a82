"""When "nothing happens" is the answer: what is too unsure, or too quiet, to be named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ModelError, ShapeError

HALF = "more sure than of all other classes together; no validation data chose it"
_QUIETER = 0.5  # the floor of the rate, in rates that are the least on validation data
_KEYS = ("confidence", "events_per_second", "how")


@check_arguments
@dataclass(frozen=True, slots=True)
class Reject:
    """Below what a decision is withheld.

    confidence         the least probability of the likeliest class
    events_per_second  the least rate of events in the window, as the network sees them: on its
                       sensor, each with its weight where they were fitted to it; 0: any but none
    how                how both were chosen, for people

    A model that does not say has the default. Raises ConfigError for values out of range.
    """

    confidence: float = 0.5
    events_per_second: float = 0.0
    how: str = HALF

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ConfigError(f"reject: confidence = {self.confidence} is outside 0..1")
        if not 0 <= self.events_per_second < math.inf:
            raise ConfigError(
                f"reject: events_per_second = {self.events_per_second} is no rate; a finite number "
                "of at least 0 is meant"
            )

    def why(self, confidence: float, events_per_second: float) -> str:
        """Return why a decision is withheld, "few events" or "unsure"; "" where it is not."""
        if not events_per_second or events_per_second < self.events_per_second:
            return "few events"
        return "unsure" if confidence < self.confidence else ""


def reject_from(about: Mapping[str, Any], where: str) -> Reject:
    """Return what [reject] of a model's file says, the default where there is none.

    Raises ModelError, which names the file as `where`, for a table that says something else.
    """
    table = about.get("reject", {})
    try:
        unknown = [key for key in table if key not in _KEYS]
        if unknown:
            raise ConfigError(f"unknown key reject.{unknown[0]}")
        return Reject(**table)
    except (ConfigError, TypeError, AttributeError) as error:
        raise ModelError(f"{where}: [reject]: {error}") from error


def reject_values(reject: Reject) -> dict[str, Any]:
    """Return the table [reject] of a model's file."""
    return asdict(reject)


@check_arguments
def choose_reject(
    confidence: NDArray[Any],
    right: NDArray[Any],
    events_per_second: NDArray[Any] | None = None,
    *,
    lost: float = 0.05,
) -> Reject:
    """Return the Reject that withholds at most a share `lost` of right validation decisions.

    confidence         (n,) probability of the likeliest class of each validation sample
    right              (n,) bool: whether that is its class
    events_per_second  (m,) rate of events in the window of each validation recording, where known

    The confidence is the largest that at most `lost` of the right decisions stay below. The rate is
    half of the one that 99 of 100 validation recordings reach: twice as quiet is no movement that
    was learned from. Without right decisions, or without rates, each is that of the default.

    Raises ShapeError for arrays that do not belong together, ConfigError unless 0 <= lost < 1.
    """
    if not 0 <= lost < 1:
        raise ConfigError(f"choose_reject: lost = {lost}; 0 <= lost < 1 is meant")
    sure, good = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if sure.ndim != 1 or sure.shape != good.shape or not np.isfinite(sure).all():
        raise ShapeError(
            f"choose_reject: confidence {sure.shape} and right {good.shape}; two arrays (n,) of "
            "finite numbers are meant"
        )
    rates = np.zeros(0) if events_per_second is None else np.asarray(events_per_second, np.float64)
    default, kept = Reject(), np.sort(sure[good])
    least = float(kept[int(lost * len(kept))]) if len(kept) else default.confidence
    floor = _QUIETER * float(np.quantile(rates, 0.01)) if len(rates) else default.events_per_second
    wrong = sure[~good]
    how = (
        f"withholds {int((kept < least).sum()):,} of {len(kept):,} right and "
        f"{int((wrong < least).sum()):,} of {len(wrong):,} wrong validation decisions"
        if len(kept)
        else HALF
    )
    if len(rates):
        how += f"; the rate is half of what 99 of 100 of {len(rates):,} validation recordings reach"
    return Reject(_rounded_down(least), _rounded_down(floor), how)


def _rounded_down(value: float) -> float:
    """Return three places that count, and no more than `value`."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / step + 1e-9) * step:.6g}")
