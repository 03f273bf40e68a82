"""Prophesee's ECF codec: kernels against a slow twin written from the layout."""

from __future__ import annotations

import numpy as np
import pytest

from dvskit.events import Events, Size
from dvskit.formats.hdf5 import ecf_kernels as k
from dvskit.formats.hdf5.table import ChunkError, decode_ecf
from dvskit.formats.hdf5.writing import encode_ecf
from dvskit.formats.storage import new_columns

PACKED, PACKED_XP, RUNS = 2, 1, 0
SIZE = Size(2048, 2048)


def twin_encode(t, x, y, p, flags):
    """Encode events one by one: a slow reading of the layout."""
    out = bytearray(((len(t) << 2) | flags).to_bytes(4, "little"))
    out += int(t[0]).to_bytes(8, "little", signed=True)
    now, i = int(t[0]), 0
    while i < len(t):
        step = int(t[i]) - now
        if step >= 15:
            while step:
                out.append(0xF0 | step & 15)
                step >>= 4
        now = int(t[i])
        run = sum(1 for _ in iter_run(t, i))
        out.append(step << 4 | min(run, 15))
        if run >= 15:
            out += run.to_bytes(2, "little")
        i += run
    if flags & 2:
        out += twin_packed(
            [int(b) << 12 | int(a) << 1 | int(c) for a, b, c in zip(x, y, p, strict=True)], 24
        )
        return bytes(out)
    i = 0
    while i < len(y):
        run = sum(1 for _ in iter_run(y, i))
        out += (int(y[i]) << 5 | min(run, 31)).to_bytes(2, "little")
        if run >= 31:
            out += run.to_bytes(2, "little")
        i += run
    if flags & 1:
        out += twin_packed([int(a) << 1 | int(c) for a, c in zip(x, p, strict=True)], 12)
        return bytes(out)
    i = 0
    while i < len(x):
        base, mask = int(x[i]), 0
        i += 1
        for bit in range(5):
            if i < len(x) and int(x[i]) == base + bit + 1:
                mask |= 16 >> bit
                i += 1
        out += (base << 5 | mask).to_bytes(2, "little")
    i = 0
    while i < len(p):
        run = sum(1 for _ in iter_run(p, i))
        out.append(int(p[i]) << 7 | min(run, 127))
        if run >= 127:
            out += run.to_bytes(2, "little")
        i += run
    return bytes(out)


def iter_run(values, start):
    """Yield the values from `start` on that equal the first."""
    for value in values[start:]:
        if value != values[start]:
            return
        yield value


def twin_packed(values, bits):
    """Pack four values of `bits` into three words: each word is filled from the top."""
    word = bits * 4 // 3
    out = bytearray()
    for start in range(0, len(values), 4):
        a, b, c, d = [*values[start : start + 4], 0, 0, 0][:4]
        third = bits // 3
        low = lambda value, size: value & ((1 << size) - 1)  # noqa: E731
        words = (
            a << third | low(b, third),
            b >> third << 2 * third | low(c, 2 * third),
            c >> 2 * third << bits | d,
        )
        for value in words:
            out += value.to_bytes(word // 8, "little")
    return bytes(out)


def stream(seed, count):
    rng = np.random.default_rng(seed)
    odds = [0.5, 0.2, 0.1, 0.08, 0.06, 0.04, 0.02]
    steps = rng.choice([0, 1, 14, 15, 16, 5000, 1 << 40], p=odds, size=count)
    t = np.cumsum(steps) + int(rng.integers(-1000, 1 << 40))
    if seed % 3 == 0:
        x, y = rng.integers(0, 2048, count), rng.integers(0, 2048, count)
    elif seed % 3 == 1:
        x, y = np.arange(count) * 2 % 1280, np.repeat(rng.integers(0, 720, count), 45)[:count]
    else:
        x, y = rng.integers(0, 1280, count), np.repeat(rng.integers(0, 720, count), 3)[:count]
    p = np.repeat(rng.integers(0, 2, count), 1 + 130 * (seed % 2))[:count] > 0
    return t.astype(np.int64), x.astype(np.int16), y.astype(np.int16), p


def assert_same(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("flags", [RUNS, PACKED_XP, PACKED])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 400, 2001])
def test_each_way_of_packing_decodes_what_the_twin_encodes(flags, count):
    for seed in range(6):
        events = stream(seed, count)
        out = new_columns(count)
        decode_ecf(twin_encode(*events, flags), count, out)
        assert_same(out, events)


@pytest.mark.slow
def test_the_encoder_writes_the_bytes_of_the_twin_in_the_smallest_way():
    ways = set()
    for seed in range(18):
        t, x, y, p = stream(seed, 1000 + 200 * seed)
        if seed >= 9:  # rows of one y, for which x and p alone are packed
            y = np.sort(y)
        twins = [twin_encode(t, x, y, p, flags) for flags in (PACKED, PACKED_XP, RUNS)]
        wanted = min(twins, key=len)
        assert encode_ecf(Events.from_checked(t, x, y, p, SIZE)) == wanted
        ways.add(twins.index(wanted))
    assert ways == {0, 1, 2}


# Bytes that Prophesee's encoder (hdf5_ecf 1.0.1) made of rows x, y, p, t, in its three ways.
BY_PROPHESEE = {
    "10000000640000000000000002ff01fdfefdfafa01e30001017000200120018202": [
        (3, 7, 1, 100), (4, 7, 1, 100), (9, 7, 0, 115), (9, 8, 0, 700000),
    ],
    "190000000a0000000000000006a6008b075c064f00030400030000": [
        (60, 5, 0, 10), (53, 5, 1, 10), (46, 5, 0, 10), (39, 5, 1, 10), (32, 5, 0, 10),
        (25, 5, 1, 10),
    ],
    "16000000640000000000000002fef1021109c9700008773006122001000079051e0000000000000000": [
        (100, 7, 1, 100), (4, 99, 1, 100), (900, 7, 0, 130), (9, 18, 0, 130), (700, 480, 1, 131),
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", BY_PROPHESEE)
def test_a_chunk_by_prophesees_own_encoder_is_read(text):
    rows = np.array(BY_PROPHESEE[text])
    out = new_columns(len(rows))
    decode_ecf(bytes.fromhex(text), len(rows), out)
    assert_same(out, (rows[:, 3], rows[:, 0], rows[:, 1], rows[:, 2] > 0))


def test_bits_behind_the_last_event_are_none():
    events = stream(1, 7)
    data = bytearray(twin_encode(*events, RUNS))
    x_at = len(data) - 1 - 2  # the last x word stands ahead of one byte of p
    assert data[-1] & 127
    data[x_at] |= 0x01
    out = new_columns(7)
    decode_ecf(bytes(data), 7, out)
    assert_same(out, events)


@pytest.mark.parametrize("flags", [RUNS, PACKED_XP, PACKED])
def test_a_chunk_of_another_length_or_count_is_refused(flags):
    events = stream(2, 300)
    data = twin_encode(*events, flags)
    wrong = [(data[:length], 300) for length in range(len(data))]
    for given, count in [*wrong, (data + b"\0", 300), (data, 301), (b"\xff" * 40, 1)]:
        with pytest.raises(ChunkError):
            decode_ecf(given, count, new_columns(count))
    out = new_columns(200)  # fewer than there are may be asked for
    decode_ecf(data, 200, out)
    assert_same(out, tuple(column[:200] for column in events))


def test_no_bytes_make_the_decoder_leave_its_columns():
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(3000):
        count = int(rng.integers(1, 60))
        flags = int(rng.integers(0, 4))
        data = int(count << 2 | flags).to_bytes(4, "little") + rng.bytes(int(rng.integers(0, 200)))
        out = new_columns(count + 8)
        for column in out:
            column[:] = 77
        used = k.ecf_decode(np.frombuffer(data, np.uint8), count, *(c[:count] for c in out))
        refused += used < 0
        assert used <= len(data)
        assert all((column[count:] == (column.dtype.type(77))).all() for column in out)
    assert refused > 1000
