# mypy: disable-error-code="arg-type,return-value,no-any-return,assignment"
"""Loops that judge a word of time by the EVT 3.0 words behind it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.evt3 import layout as w
from dvskit.formats.evt3.survey_kernels import impossible

LOOK_AHEAD = 1 << 16  # words that may be looked at to judge a TIME_HIGH
_NEAR = 64  # steps of TIME_HIGH
_SHORT_WAY = 256  # steps back that a clock which begins anew would hardly take
_VOTERS = 8
NEIGHBOURS = 16  # words around an impossible one that are not trusted with a jump of time


@njit(cache=True, nogil=True)
def _catches_up(words: NDArray[np.uint16], at: int, high: int) -> bool:
    """Whether a TIME_HIGH behind words[at] reaches `high` again, within what may be looked at."""
    for i in range(at + 1, min(at + 1 + LOOK_AHEAD, words.size)):
        if words[i] >> 12 == w.TIME_HIGH and ((np.int64(words[i]) - high) & 0xFFF) < _NEAR:
            return True
    return False


@njit(cache=True, nogil=True)
def _next_low(words: NDArray[np.uint16], at: int) -> int:
    """Return the TIME_LOW behind words[at] and ahead of the next TIME_HIGH, -1 if there is none."""
    for i in range(at + 1, min(at + 1 + LOOK_AHEAD, words.size)):
        kind = words[i] >> 12
        if kind == w.TIME_LOW:
            return int(np.int64(words[i]) & 0xFFF)
        if kind == w.TIME_HIGH:
            break
    return -1


@njit(cache=True, nogil=True)
def _vote(words: NDArray[np.uint16], at: int, blind: bool, high: int, new: int) -> int:
    """Judge by several TIME_HIGH behind words[at] whether time goes on from `high` or `new`."""
    voters, for_high, for_new, first = 0, 0, 0, -1
    for i in range(at + 1, min(at + 1 + LOOK_AHEAD, words.size)):
        if words[i] >> 12 == w.TIME_HIGH:
            value = np.int64(words[i]) & 0xFFF
            voters += 1
            for_new += ((value - new) & 0xFFF) < _VOTERS
            if ((value - high) & 0xFFF) < _VOTERS:
                for_high += 1
                first = value if first < 0 else first
            if voters == _VOTERS:
                break
    if blind and voters < _VOTERS:
        return w.WAIT
    if for_high > for_new and 2 * for_high > voters:
        return w.IGNORED if first == high else w.SPURIOUS
    return w.ACCEPT


@njit(cache=True, nogil=True)
def judge_high(
    words: NDArray[np.uint16],
    at: int,
    ended: bool,
    width: int,
    height: int,
    high: int,
    low: int,
    new: int,
    behind_bad: bool,
) -> int:
    """Judge the TIME_HIGH `new` in words[at], more than one step from `high`, by what follows.

    It is spurious where the next ones go on as if it had not been there, and among impossible
    words: `behind_bad` says that there was one shortly ahead. A high part that goes back is that of
    words which stand out of order if it comes to `high` again, else of a clock that began anew.
    `ended` says that no words will follow `words`.
    """
    following = -1
    for i in range(at + 1, min(at + 1 + LOOK_AHEAD, words.size)):
        if words[i] >> 12 == w.TIME_HIGH:
            following = np.int64(words[i]) & 0xFFF
            break
    step, wraps = (new - high) & 0xFFF, high >= new + w.WRAP
    back = new < high - 1 and not wraps
    blind = not ended and at + LOOK_AHEAD >= words.size  # some that may be looked at are missing
    if blind and (following < 0 or back or at + NEIGHBOURS >= words.size):
        return w.WAIT
    for i in range(at + 1, min(at + 1 + NEIGHBOURS, words.size)):
        behind_bad = behind_bad or impossible(np.int64(words[i]), width, height)
    if behind_bad:
        return w.IGNORED
    if following < 0:
        return w.SPURIOUS if back else w.ACCEPT
    onward = (following - high) & 0xFFF
    if onward == 0:
        return w.IGNORED
    if onward == 1:  # where the low part falls, this was the word of the next high part
        return w.IGNORED if _next_low(words, at) >= low else w.SPURIOUS
    stride = (following - new) & 0xFFF
    if stride > 1 and stride != step:  # some encoders cross gaps in equal strides
        verdict = _vote(words, at, blind, high, new)
        if verdict != w.ACCEPT:
            return verdict
    if back:
        if ((following - new) & 0xFFF) > _NEAR:
            return w.SPURIOUS
        if _catches_up(words, at, high) or (ended and high - new <= _SHORT_WAY):
            return w.BACK
        return w.RESET
    if new < following + w.WRAP and onward < step:
        return w.SPURIOUS
    return w.ACCEPT
