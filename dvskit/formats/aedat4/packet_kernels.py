"""The walk over packets. Data from the file is checked before use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dvskit.formats.unaligned import load_u32

HEADER_BYTES = 8  # of a packet: stream, length
SEEN_BYTES = HEADER_BYTES + 12  # from the start of a packet, enough to identify one

# Indices in the state of a walk over packets: current position, latest packet, start of a loss,
# number of rows and of losses, cost of unlikely packets, status; end of a packet that reaches
# out of the window, and whether another follows there.
(W_AT, W_PREVIOUS, W_LOSS, W_ROWS, W_LOSSES, W_SPENT, W_STATUS, W_BEHIND, W_FOLLOWED) = range(9)
WALK_FIELDS = 9
# W_STATUS: needs bytes at W_AT; needs the byte at W_BEHIND; out of room; strict; finished.
MORE, PEEK, FULL, PROBLEM, ENDED = range(5)
NOWHERE = -1
_PEEK_COST = 1 << 12


class Look(NamedTuple):
    """The view of a walk: `filled` bytes of a file from byte `base` on.

    table    the end of the packets in the file
    streams  rows of a stream's number and its kind, four letters
    magic    first bytes of compressed data; 0 without compression
    """

    window: NDArray[np.uint8]
    base: int
    filled: int
    file_bytes: int
    table: int
    streams: NDArray[np.int64]
    magic: int


@njit(cache=True, nogil=True)
def _valid(look: Look, place: int, wanted: int, longest: int) -> int:
    """Return the index in `streams` of the packet at a byte of the file, or -1 for none.

    The window must contain SEEN_BYTES from there on, or all that are left.
    """
    window, streams, magic = look.window, look.streams, look.magic
    at, left = place - look.base, look.file_bytes - place
    if left < SEEN_BYTES:
        return -1
    if magic != 0 and load_u32(window, at + HEADER_BYTES) != magic:
        return -1
    length = load_u32(window, at + 4)
    if length < 1 or HEADER_BYTES + length > left:
        return -1
    stream = load_u32(window, at)
    for row in range(streams.shape[0]):
        if streams[row, 0] == stream:
            if magic == 0 and load_u32(window, at + HEADER_BYTES + 8) != streams[row, 1]:
                return -1
            return -1 if stream == wanted and length > longest else row
    return -1


@njit(cache=True, nogil=True)
def _candidate(
    window: NDArray[np.uint8], at: int, stop: int, streams: NDArray[np.int64], magic: int
) -> int:
    """Return the first place from `at` on with the mark of a packet; `stop` for none."""
    if magic != 0:
        while at < stop and load_u32(window, at + HEADER_BYTES) != magic:
            at += 1
        return at
    while at < stop:
        mark = load_u32(window, at + HEADER_BYTES + 8)
        for row in range(streams.shape[0]):
            if streams[row, 1] == mark:
                return at
        at += 1
    return at


@njit(cache=True, nogil=True)
def valid_at(look: Look, at: int) -> int:
    """Return 1 if a packet begins at the byte `at` of the file, or packets end there; else 0.

    Returns -1 if the window is too short for the check.
    """
    if at >= look.file_bytes or at == look.table:
        return 1
    seen = at - look.base + min(SEEN_BYTES, look.file_bytes - at)
    if at < look.base or seen > look.filled:
        return -1
    return int(_valid(look, at, -1, 0) >= 0)


@njit(cache=True, nogil=True)
def walk(
    look: Look,
    wanted: int,
    longest: int,
    strict: bool,
    most_spent: int,
    state: NDArray[np.int64],
    rows: NDArray[np.int64],
    losses: NDArray[np.int64],
) -> None:
    """Find the whole packets of a stream in a window of a file, and the losses between them.

    Each packet gives a row (offset, length). Each loss gives the expected start of a packet and the
    start of the next one. After a loss, the next packet may begin inside the previous one, as its
    length may be wrong; the search there costs at most `most_spent` bytes.
    """
    window, base, filled, file_bytes, table, streams, magic = look
    at = state[W_AT]
    state[W_ROWS] = state[W_LOSSES] = 0
    state[W_STATUS] = MORE
    while True:
        searching = state[W_LOSS] != NOWHERE
        if not searching and (at >= file_bytes or at == table):
            state[W_STATUS] = ENDED
            break
        if searching and at >= base:
            last = min(base + filled, file_bytes) - SEEN_BYTES
            at = base + _candidate(window, at - base, max(at, last + 1) - base, streams, magic)
            if file_bytes - at < SEEN_BYTES:
                at = table if state[W_PREVIOUS] < table < file_bytes else file_bytes
        if at < base or at - base + min(SEEN_BYTES, file_bytes - at) > filled:
            break
        found = _valid(look, at, wanted, longest)
        stop, followed = at, True
        if found >= 0 and not strict:
            stop = at + HEADER_BYTES + load_u32(window, at - base + 4)
            known = valid_at(look, stop)
            if known < 0 and state[W_BEHIND] == stop:
                known = state[W_FOLLOWED]
            if known < 0 and state[W_SPENT] <= most_spent:
                state[W_BEHIND], state[W_STATUS] = stop, PEEK
                state[W_SPENT] += _PEEK_COST
                break
            followed = known > 0
            if not followed and state[W_SPENT] + stop - at > most_spent:
                found = -1
        if searching:
            if found < 0 and at < file_bytes and at != table:
                at += 1
                continue
            if state[W_LOSSES] == losses.shape[0]:
                state[W_STATUS] = FULL
                break
            losses[state[W_LOSSES], 0], losses[state[W_LOSSES], 1] = state[W_LOSS], at
            state[W_LOSSES] += 1
            state[W_LOSS] = NOWHERE
            continue
        if found < 0:
            if strict:
                state[W_STATUS] = PROBLEM
                break
            state[W_LOSS] = at
            at = state[W_PREVIOUS] + 1
            continue
        stop = at + HEADER_BYTES + load_u32(window, at - base + 4)
        if streams[found, 0] == wanted:
            if stop - base > filled:
                break
            if state[W_ROWS] == rows.shape[0]:
                state[W_STATUS] = FULL
                break
            rows[state[W_ROWS], 0], rows[state[W_ROWS], 1] = at, stop - at - HEADER_BYTES
            state[W_ROWS] += 1
        state[W_PREVIOUS] = at
        if followed:
            at = stop
        else:
            state[W_SPENT] += stop - at
            state[W_LOSS] = stop
            at += 1
    state[W_AT] = at
