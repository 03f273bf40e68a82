"""Decoded columns against the sensor and the clock: what is lost is named, listed, and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvskit.errors import DamagedFileError
from dvskit.events import Size
from dvskit.formats.in_order import Columns, InOrder
from dvskit.formats.losses import Damage, Losses

SIZE = Size(20, 10)
X = np.array([1, 2, 30, 4, 40, 50, 7], np.int16)  # numbers 2, 4 and 5 are off the sensor
COLUMNS = Columns(
    np.arange(7) * 10, X, np.full(7, 3, np.int16), np.ones(7, bool),
    offsets=100 + 8 * np.arange(7), widths=np.full(7, 8),
)  # fmt: skip


def test_strict_names_the_first_event_that_is_off_the_sensor() -> None:
    order = InOrder(Losses(Path("a.bin"), strict=True), SIZE)
    with pytest.raises(DamagedFileError) as error:
        list(order.push(COLUMNS))
    assert error.value.offset == 116
    assert error.value.problem == "event at (30, 3) is off the 20x10 sensor"


@pytest.mark.parametrize("kept", [1000, 2, 0])
def test_salvage_lists_each_by_its_own_place_and_counts_those_beyond(kept: int) -> None:
    damage = Damage(kept=kept)
    order = InOrder(Losses(Path("a.bin"), strict=False, damage=damage), SIZE)
    blocks = [*order.push(COLUMNS), *order.rest()]
    assert np.concatenate([block.x for block in blocks]).tolist() == [1, 2, 4, 7]
    said = [
        (offset, 8, f"event at ({x}, 3) is off the 20x10 sensor")
        for offset, x in ((116, 30), (132, 40), (140, 50))
    ]
    assert [tuple(loss) for loss in damage.losses] == said[:kept]
    assert (damage.count, damage.lost_bytes) == (3, 24)
