"""Mutations of text files: extreme numbers, lost and doubled lines, deep nesting, strange bytes.

A mutation is known by its number alone. Every second one is of bytes, as for other files.
"""

from __future__ import annotations

import re

from tests.mutation_kinds import Dice, mutate

_VALUES = [
    "0", "-1", "1e308", "-1e308", "1e999", "nan", "inf", "-inf", "9999999999999999999999", "1e-320",
    '""', '"x"', "true", "[]", "[1, [2, 3]]", "{}", "null", "0x10", "1_000", "1.5.2", "00012",
    "9223372036854775808", "-9223372036854775808", "2026-01-01", "\u0661\u0662", "../../etc",
    "&a [*a]", "!!python/object:os.system", "'", "NaN", "1e5", "4294967296",
]  # fmt: skip
_NUMBER = re.compile(r"[-+]?\d[\d.eE+-]*")
_WORD = re.compile(r"[A-Za-z_]\w*")


def mutate_text(data: bytes, number: int) -> bytes:
    """Return mutation `number` of a text of at least 64 bytes."""
    if number % 2:
        return mutate(data, number // 2).data
    dice = Dice(number)
    text = data.decode("utf-8", "surrogateescape")
    for _ in range(1 + dice.below(3) // 2):
        text = dice.pick(_WAYS)(text, dice)
    return text.encode("utf-8", "surrogateescape")


def _replaced(text: str, dice: Dice, pattern: re.Pattern[str], new: str) -> str:
    found = list(pattern.finditer(text))
    if not found:
        return text + new
    one = dice.pick(found)
    return text[: one.start()] + new + text[one.end() :]


def _number(text: str, dice: Dice) -> str:
    return _replaced(text, dice, _NUMBER, dice.pick(_VALUES))


def _word(text: str, dice: Dice) -> str:
    words = _WORD.findall(text) or ["x"]
    return _replaced(text, dice, _WORD, dice.pick([*_VALUES, dice.pick(words), "\x00", "\ufeff"]))


def _lines(text: str, dice: Dice) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at = dice.below(len(lines))
    other = dice.pick(lines)
    lines[at : at + 1] = dice.pick([[], [lines[at]] * 2, [other], [other, lines[at]], ["\n"]])
    return "".join(lines)


def _long(text: str, dice: Dice) -> str:
    at = dice.below(len(text) + 1)
    part = dice.pick(["[", "{", "(", "a", "9", " ", "\t", '"', "[[a]]\n", "- ", "a.", "a:\n  "])
    return text[:at] + part * dice.length(100_000) + text[at:]


def _signs(text: str, dice: Dice) -> str:
    signs = [at for at, sign in enumerate(text) if sign in "[]{}\"'=,:#\n."]
    at = dice.pick(signs or [0])
    return text[:at] + dice.pick(["", ",", "[", "]", '"', "\r", "\x00", "\udcff"]) + text[at + 1 :]


_WAYS = [_number, _number, _number, _word, _lines, _long, _signs]
