"""Videos of all kinds on the command line: what is said of them, and what they become."""

from __future__ import annotations

import numpy as np
import pytest

import dvskit
from dvskit.errors import VideoError
from dvskit.video import ArrayFrames, open_frames
from tests.video_kinds import B_FRAMES, QUICK, Kind, cut_to, rotated, scene, turned, write


def test_events_of_a_turned_video_stand_upright(run, tmp_path):
    path = write(
        Kind("", ".mp4", "libx264", options=QUICK, prepare=rotated(90), turn=turned(1)), tmp_path
    )
    code, _, err = run("emulate", path, "out.npz")
    assert code == 0
    assert err.count("turned counter-clockwise by 90 degrees") == 1
    events = dvskit.load_events("out.npz")
    assert tuple(events.size) == (48, 64)
    upright = [np.rot90(np.rint(scene(k) * 255).astype(np.uint8)) for k in range(24)]
    expected = dvskit.emulate(ArrayFrames(np.array(upright), fps=25))
    counts = [
        dvskit.tensors.bin_events(each, bins=1, bin_us=1_000_000)[0].sum(0).double()
        for each in (events, dvskit.Events.concatenate(expected, expected.size))
    ]
    flat = np.corrcoef(counts[0].reshape(-1), counts[1].reshape(-1))[0, 1]
    lying = np.corrcoef(counts[0].T.reshape(-1), counts[1].reshape(-1))[0, 1]
    assert flat > 0.9 > lying + 0.2


def test_a_damaged_video_writes_nothing_unless_it_is_salvaged(run, tmp_path):
    path = write(Kind("", ".mkv", "libx264", options=B_FRAMES, spoil=cut_to(0.6)), tmp_path)
    code, out, err = run("emulate", path, "out.raw")
    assert (code, out) == (1, "")
    assert err.startswith(f"dvskit: error: {path}: ")
    assert "--salvage" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.raw").exists()
    code, _, err = run("emulate", path, "out.raw", "--salvage")
    assert code == 0
    assert "its header says" in err
    assert len(dvskit.load_events("out.raw")) > 0
    source = dvskit.emulate(path, strict=False)
    assert sum(map(len, source)) == len(dvskit.load_events("out.raw"))
    assert source.damage


@pytest.mark.parametrize("extra", [(), ("--upsample",)])
def test_events_begin_at_0_or_on_the_container_s_clock(run, tmp_path, extra):
    path = write(Kind("", ".mpg", "mpeg2video", options={"bf": "2"}), tmp_path)
    code, _, err = run("emulate", path, "first.npz", *extra)
    assert code == 0
    assert "its container shows the first frame at 540.000 ms (--time container)" in err
    code, _, err = run("emulate", path, "container.npz", "--time", "container", *extra)
    assert code == 0
    first, container = dvskit.load_events("first.npz"), dvskit.load_events("container.npz")
    assert 0 <= first.t[0] <= 40_000
    assert (container.t - first.t == 540_000).all()
    assert run("emulate", path, "x.npz", "--time", "last")[0] == 2
    # What was emulated lies beside the video that it was made of, on either clock.
    for clock in ("first", "container"):
        name = f"{clock}.npz"
        assert run("render", name, "-o", f"{clock}.mp4", "--beside", path, "--time", clock)[0] == 0
        assert open_frames(f"{clock}.mp4").size.width > 2 * 64


def test_salvage_and_time_are_not_for_cameras(run):
    code, _, err = run("emulate", "--camera", "0", "out.raw", "--salvage")
    assert (code, "--salvage" in err) == (2, True)


def test_options_of_paths_are_refused_for_frames():
    with pytest.raises(dvskit.errors.ConfigError, match="are for paths"):
        dvskit.emulate([(0, np.zeros((4, 5), np.uint8))], strict=False)


def test_an_emulation_says_what_its_clip_is_like(tmp_path):
    path = write(Kind("", ".mp4", "libx264", options=QUICK, prepare=rotated(180)), tmp_path)
    source = dvskit.emulate(path)
    assert source.notes == ("turned by 180 degrees, as the file says it is shown",)
    assert ("note", source.notes[0]) in source.about()
    assert source.damage is not None
    assert not source.damage
    with pytest.raises(VideoError, match="has 1 frame;"):
        list(
            dvskit.emulate(
                write(Kind("", ".mkv", "libx264", options=QUICK, times_ms=[0]), tmp_path)
            )
        )
