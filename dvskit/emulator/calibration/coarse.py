"""Where single events are not explained: the sensor whose emulation gives as many events.

ON and OFF thresholds are those by which an emulation of the frames has as many ON and OFF events as
the recording; the log map and the low-pass those by which its events are where the recording's are.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from dvskit.emulator.calibration.agreement import Stage, stage
from dvskit.emulator.calibration.observed import Observed, Seen
from dvskit.emulator.calibration.search import OFFSET
from dvskit.emulator.calibration.table import Agreement, Estimate, params_of, unknown
from dvskit.emulator.params import EmulatorParams

_SEARCHED_NUMBERS = 4_000_000  # pixels times frames that candidates are emulated with
# Of the logarithm of counts: where single events are explained so well (scatter, as a part of the
# threshold), frames between frames, which are blurred, lack as many events; or not.
_EXPLAINED, _LACK, _APART = 0.07, 0.25, 0.1
_OFFSETS: tuple[float | None, ...] = (None, 2.0, 5.0, 10.0, 20.0, 40.0)
_CUTOFFS = (0.0, 300.0, 100.0, 40.0)
_BETTER = 0.005  # of a correlation, from which on it is taken for real
_CHANCE = 1.5  # the same, times the root of the number of events
_TURNS = 8
_NEAR = 0.02  # of the counts
_FALL, _SHARE = 1.4, 1.2  # powers by which counts fall with thresholds, and their ratio
_LEAST, _MOST = 0.02, 5.0
_DOUBT = 0.15  # of a threshold: frames blur, and do not show how pixels begin
_ALIKE = 0.01  # of a correlation: what agrees as well as that may be the truth
_LEAST_EVENTS, _LEAST_CORRELATION = 500, 0.2  # for thresholds to be claimed
_START = 0.3
_FACTOR = 0.7  # standard error of a log offset and a low-pass, as a part of them


@dataclass(frozen=True, slots=True)
class Found:
    """Parameters whose emulation has the counts of the recording, and how well it agrees.

    sooner_us  so much sooner frames are placed, as the low-pass delays
    """

    params: EmulatorParams
    agreement: Agreement
    sooner_us: float = 0.0


def matched(stage: Stage, params: EmulatorParams, sooner_us: float = 0.0) -> Found:
    """Return the parameters with thresholds by which ON and OFF counts agree."""
    wanted = stage.counts(stage.recorded) + 1.0
    on, off = params.threshold_on, params.threshold_off
    relative = params.threshold_sigma / (0.5 * (on + off))
    for _ in range(_TURNS):
        sigma = relative * 0.5 * (on + off)
        params = dataclasses.replace(
            params, threshold_on=on, threshold_off=off, threshold_sigma=sigma
        )
        emulated = stage.emulated(params, -sooner_us, running=True)
        given = stage.counts(emulated) + 1.0
        more = np.log(given / wanted)
        if np.abs(more).max() < _NEAR:
            break
        whole = math.log(given.sum() / wanted.sum())
        part = (more[0] - more[1]) / _SHARE
        on, off = (
            float(np.clip(each * math.exp(whole / _FALL + sign * 0.5 * part), _LEAST, _MOST))
            for each, sign in ((on, 1.0), (off, -1.0))
        )
    return Found(params, stage.agreement(emulated), sooner_us)


def search(stage: Stage, params: EmulatorParams, light: float) -> tuple[Found, list[Found]]:
    """Return the best of some log maps and low-passes, each with thresholds of its own, and all.

    light  usual, (I + 20) / 275: a low-pass at white is so much slower
    """
    best = matched(stage, params)
    tried = [best]
    enough = max(_BETTER, _CHANCE / math.sqrt(len(stage.recorded)))
    for name, values in (("log_offset", _OFFSETS), ("cutoff_hz", _CUTOFFS)):
        for value in values:
            if value == getattr(best.params, name):
                continue
            changed = dataclasses.replace(best.params, **{name: value})  # type: ignore[arg-type]
            tried.append(matched(stage, changed, _delay_us(changed, light)))
            if _gained(tried[-1], best) > enough:
                best = tried[-1]
    return best, tried


def _gained(found: Found, other: Found) -> float:
    return found.agreement.correlation - other.agreement.correlation


def _delay_us(params: EmulatorParams, light: float) -> float:
    return 1e6 / (2 * math.pi * params.cutoff_hz * light) if params.cutoff_hz else 0.0


def closed(
    observed: Observed, seen: Seen, table: tuple[Estimate, ...], scatter: float, light: float
) -> tuple[tuple[Estimate, ...], Agreement | None]:
    """Return the table, and how well an emulation with it agrees; None where that is not known.

    Where single events give no thresholds, or thresholds by which counts do not agree, the table
    is the coarse one. scatter: what is unexplained from event to event; infinite for unknown.
    """
    whole = stage(observed, seen)
    if whole is None:
        return table, None
    params = params_of(table)[0]
    if math.isfinite(scatter):
        if _agrees(whole, params, table, scatter):
            return table, whole.agreement(whole.emulated(params))
    else:
        params = dataclasses.replace(params, threshold_on=_START, threshold_off=_START)
    part = stage(observed, seen, _SEARCHED_NUMBERS) or whole
    best, tried = search(part, params, light)
    if part.stop_us - part.start_us < 0.9 * (whole.stop_us - whole.start_us):
        best = matched(whole, best.params, best.sooner_us)
    count = int(whole.counts(whole.recorded).sum())
    if count < _LEAST_EVENTS or best.agreement.correlation < _LEAST_CORRELATION:
        return table, whole.agreement(whole.emulated(params_of(table)[0]))
    found = coarse_table(table, best, tried, count)
    emulated = whole.emulated(params_of(found)[0], -best.sooner_us)
    return found, whole.agreement(emulated)


def _agrees(
    stage: Stage, params: EmulatorParams, table: tuple[Estimate, ...], scatter: float
) -> bool:
    """Return whether counts, where the light changes, agree by as much as the thresholds claim."""
    emulated = stage.counts(stage.emulated(params, running=True)) + 1.0
    apart = np.abs(np.log(emulated / (stage.counts(stage.recorded) + 1.0))).max()
    named = [each for each in table if each.name in ("threshold_on", "threshold_off")]
    claimed = max((each.uncertainty or 0.0) / (each.value or 1.0) for each in named)
    allowed = max(_LACK if scatter < _EXPLAINED else _APART, 1.5 * _FALL * claimed)
    return bool(apart < allowed)


def coarse_table(
    table: tuple[Estimate, ...], best: Found, tried: list[Found], samples: int
) -> tuple[Estimate, ...]:
    """Return the table with what was found by counts and correlation."""
    alike = [each.params for each in tried if _gained(each, max(tried, key=_of)) > -_ALIKE]
    new = []
    for each in table:
        value = getattr(best.params, each.name, None)
        if each.name in ("threshold_on", "threshold_off"):
            assert value is not None
            spread = float(np.std([math.log(getattr(p, each.name) / value) for p in alike]))
            how = "coarse: emulated ON and OFF counts agree with those recorded"
            error = value * math.hypot(_DOUBT, spread)
            new.append(Estimate(each.name, value, error, samples, how))
        elif each.name in ("log_offset", "cutoff_hz") and not _same(each, value):
            new.append(_by_correlation(each.name, value, samples))
        elif each.name == OFFSET and best.sooner_us and each.value is not None:
            error = math.hypot(each.uncertainty or 0.0, 0.5 * best.sooner_us)
            moved = each.value - best.sooner_us
            new.append(dataclasses.replace(each, value=moved, uncertainty=error))
        else:
            new.append(each)
    return tuple(new)


def _of(found: Found) -> float:
    return found.agreement.correlation


def _same(each: Estimate, value: float | None) -> bool:
    """Return whether the coarse way leaves what single events gave."""
    known = each.value is not None and bool(value)
    return known and abs(math.log(value / each.value)) < 1e-3  # type: ignore[operator]


def _by_correlation(name: str, value: float | None, samples: int) -> Estimate:
    if not value:
        what = "lin-log agrees" if name == "log_offset" else "no low-pass agrees"
        return unknown(name, f"coarse: {what} as well as any other", samples)
    how = "coarse: signed events in 5 ms correlate best"
    return Estimate(name, value, _FACTOR * value, samples, how)
