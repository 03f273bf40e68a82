"""Every real recording, opened by its path alone, holds the events that are known to be in it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import dvskit
from dvskit.events import read_all

# In these y is told as it is stored, counted from the bottom; the events have it from the top.
FROM_BOTTOM = {
    "davis240c_aps_imu.aedat": 180,
    "dvs128_signed_time.aedat": 128,
    "dvs128_translating_bar.aedat": 128,
}
NAMES = [
    "aedat31_synthetic_dvs128.aedat",
    "color_320x240.es",
    "davis240c_aps_imu.aedat",
    "dvs128_signed_time.aedat",
    "dvs128_translating_bar.aedat",
    "dvs_320x240.es",
    "dvxplorer_320x240_lz4.aedat4",
    "evt21_synthetic_1280x720.raw",
    "evt2_gen3_640x480.raw",
    "evt3_gen41_1280x720.raw",
    "evt3_triggers_640x480.raw",
    "evt4_synthetic_1280x720.raw",
    "generic.es",
    "ncars_type0.dat",
    "nmnist_34x34.bin",
    "ros1_evt3_640x480.bag",
    "ros2_evt3_640x480.db3",
    "ros2_libcaer_rollover_640x480.db3",
    "ros2_mono_cd.db3",
]


def digest(column, dtype):
    return hashlib.sha256(np.asarray(column).astype(dtype).tobytes()).hexdigest()[:16]


def facts(events, height_from_bottom):
    y = events.y.astype(np.int64)
    if height_from_bottom:
        y = height_from_bottom - 1 - y
    return {
        "events": len(events),
        "on": int(np.count_nonzero(events.p)),
        "sum_t": sum(int(part.sum()) for part in np.array_split(events.t, 100)),
        "sum_x": int(events.x.sum(dtype=np.int64)),
        "sum_y": int(y.sum()),
        "t_first": int(events.t[0]),
        "t_last": int(events.t[-1]),
        "sha256_t_int64": digest(events.t, "<i8"),
        "sha256_x_uint16": digest(events.x, "<u2"),
        "sha256_y_uint16": digest(y, "<u2"),
        "sha256_p_uint8": digest(events.p, "u1"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_recording_holds_what_is_known_of_it(data, name, strict):
    folder = data / "recordings"
    truth = json.loads((folder / "truth.json").read_text())[name]
    recording = dvskit.open_events(folder / name, strict=strict)
    events = recording.load()
    assert not recording.damage
    assert read_all(recording) == events
    if name == "generic.es":
        assert len(events) == 0
        assert recording.other_streams() == {"generic events": truth["events"]}
        return
    found = facts(events, FROM_BOTTOM.get(name))
    if name == "color_320x240.es":
        found = {"events": found["events"]}  # it has no polarity: see what is assumed
        assert any("olarity" in text for text in recording.assumptions)
    known = {key: truth[key] for key in found if key in truth}
    assert "events" in known
    assert {key: found[key] for key in known} == known


def test_all_recordings_are_looked_at(data):
    told = json.loads((data / "recordings" / "truth.json").read_text())
    assert sorted(told) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ros1_evt3_640x480.bag", "ros2_evt3_640x480.db3"])
def test_a_bag_of_evt3_packets_holds_the_raw_file(data, name):
    bag = dvskit.open_events(data / "recordings" / name)
    raw = dvskit.open_events(data / "recordings" / "evt3_triggers_640x480.raw")
    assert bag.load() == raw.load()
    assert np.array_equal(bag.triggers().t, raw.triggers().t)
    assert len(bag.triggers()) == 4157
