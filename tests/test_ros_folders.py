"""Folders of ROS 2 recordings: metadata.yaml and the files that it lists."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest
import zstandard

import dvskit
from dvskit.errors import DamagedFileError, FormatError, MissingFileError
from dvskit.formats.found import find_recordings
from dvskit.formats.ros.folder import listed_files
from tests import ros_bags as bags
from tests.laws import refused
from tests.ros_bags import SIZE, array, assert_same_triggers, rows_of, some_events

# What rosbag2 writes up to Galactic: the list comes ahead of the topics.
METADATA = """rosbag2_bagfile_information:
  version: 4
  storage_identifier: sqlite3
  relative_file_paths:
{files}  duration:
    nanoseconds: 143497058611
  topics_with_message_count:
    - topic_metadata:
        name: /camera/events
        offered_qos_profiles: "- history: 3\\n  depth: 0"
      message_count: 4
  compression_format: ""
"""


def write_metadata(folder, names):
    files = "".join(f"    - {name}\n" for name in names)
    (folder / "metadata.yaml").write_text(METADATA.format(files=files))


def split_real(data, folder, *, parts=3):
    """Split a real recording as `ros2 bag record --max-bag-size` does; return the files."""
    folder.mkdir()
    source = data / "recordings" / "ros2_evt3_640x480.db3"
    with closing(sqlite3.connect(source)) as base:
        (count,) = base.execute("select max(id) from messages").fetchone()
    borders = [count * part // parts for part in range(parts + 1)]
    for number, (low, high) in enumerate(pairwise(borders)):
        file = folder / f"bag_{number}.db3"
        shutil.copyfile(source, file)
        base = sqlite3.connect(file, isolation_level=None)
        base.execute("delete from messages where id <= ? or id > ?", (low, high))
        base.execute("vacuum")
        base.close()
    names = [f"bag_{number}.db3" for number in range(parts)]
    write_metadata(folder, names)
    return [folder / name for name in names]


def whole(data):
    return dvskit.open_events(data / "recordings" / "ros2_evt3_640x480.db3")


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("strict", [True, False])
def test_a_split_recording_is_read_as_one(data, tmp_path, strict):
    folder = tmp_path / "set" / "wave" / "p1"
    folder.parent.mkdir(parents=True)
    split_real(data, folder)
    recording = dvskit.open_events(folder, strict=strict)
    assert recording.format == "rosbag2"
    assert recording.load() == whole(data).load()
    assert not recording.damage
    assert_same_triggers(recording.triggers(), whole(data).triggers())
    part = recording.between(600_000, 650_000)
    assert part.load() == whole(data).between(600_000, 650_000).load()
    assert find_recordings(tmp_path / "set").recordings == [folder]
    samples = dvskit.datasets.open_samples(tmp_path / "set")
    assert (samples.classes, len(samples)) == (("wave",), 1)
    assert samples.events(0) == whole(data).load()


@pytest.mark.parametrize(
    ("container", "compression"),
    [("db3", ""), ("mcap", "file"), ("db3", "message"), ("mcap", "storage"), ("db3", "file")],
)
def test_the_folders_of_rosbags_are_read(tmp_path, container, compression):
    events = some_events(500, seed=3)
    said = [array(rows_of(events))]
    written = "" if compression == "file" else compression
    folder = bags.write(tmp_path / f"bag.{container}", said, compression=written).parent
    if compression == "file":
        for file in folder.glob(f"*.{container}"):
            packed = zstandard.compress(file.read_bytes())
            file.unlink()
            file.with_name(f"{file.name}.zstd").write_bytes(packed)
        text = (folder / "metadata.yaml").read_text()
        (folder / "metadata.yaml").write_text(text.replace(f".{container}", f".{container}.zstd"))
    recording = dvskit.open_events(folder)
    assert recording.load() == events
    assert recording.size == SIZE
    for name in ("rosbag2", container):
        assert dvskit.load_events(folder, format=f"{name}:/dvs/events") == events
        with refused(FormatError, "/other"):
            dvskit.open_events(folder, format=f"{name}:/other")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("relative_file_paths:\n  - a_0.db3\n  - a_1.db3\n", ["a_0.db3", "a_1.db3"]),
        ("  relative_file_paths: [a.mcap, 'b c.mcap']\n", ["a.mcap", "b c.mcap"]),
        ('  relative_file_paths:\r\n    - "a b.db3"\r\n  duration: 3\n', ["a b.db3"]),
        ("  relative_file_paths:\n    - folder/a.db3.zstd # last\n", ["a.db3.zstd"]),
        ("  relative_file_paths:\n    - ../../etc/passwd\n", ["passwd"]),
        ("  topics: 3\n  relative_file_paths:\n    - a.db3\n  files:\n    - path: b\n", ["a.db3"]),
        ("  relative_file_paths:\n  topics: 3\n", []),
        ("rosbag2_bagfile_information:\n  version: 4\n", []),
    ],
)
def test_names_of_files_are_read_without_their_folders(text, names):
    assert listed_files(text) == names


def test_a_missing_file_is_one_line_and_salvage_reads_the_rest(data, tmp_path):
    files = split_real(data, tmp_path / "bag")
    files[1].unlink()
    with refused(MissingFileError, "bag_1.db3", "metadata.yaml"):
        dvskit.open_events(tmp_path / "bag")
    recording = dvskit.open_events(tmp_path / "bag", strict=False)
    events = recording.load()
    assert 0.4 * len(whole(data).load()) < len(events) < len(whole(data).load())
    assert recording.damage.count >= 1
    assert "bag_1.db3" in recording.damage.losses[0].problem
    for file in files[::2]:
        file.unlink()
    with refused(FormatError, "bag"):
        dvskit.open_events(tmp_path / "bag", strict=False)


def test_damage_names_the_file_that_it_is_in_and_the_byte(data, tmp_path):
    files = split_real(data, tmp_path / "bag")
    damaged = bytearray(files[1].read_bytes())
    del damaged[-5000:]
    files[1].write_bytes(damaged)
    with pytest.raises(DamagedFileError) as caught:
        dvskit.open_events(tmp_path / "bag").load()
    assert caught.value.path == str(files[1])
    assert 0 <= caught.value.offset <= len(damaged)
    recording = dvskit.open_events(tmp_path / "bag", strict=False)
    recording.load()
    assert recording.damage
    first, *others = recording.damage.losses
    assert first.problem.startswith("bag_1.db3: the file has")
    assert first.offset == len(damaged)
    assert all(loss.problem.startswith(("bag_1.db3: row", "bag_2.db3: row")) for loss in others)


def test_a_compressed_file_that_ends_early_is_salvaged_up_to_there(tmp_path):
    events = some_events(20_000, seed=4)
    said = [array(rows_of(events[at : at + 100]), number=at // 100) for at in range(0, 20_000, 100)]
    folder = bags.write(tmp_path / "bag.mcap", said).parent
    (file,) = folder.glob("*.mcap")
    bags.cut_chunks(file)
    compressor = zstandard.ZstdCompressor().compressobj()
    data, packed = file.read_bytes(), b""
    for at in range(0, len(data), 1 << 14):  # in blocks that can be decompressed alone
        packed += compressor.compress(data[at : at + (1 << 14)])
        packed += compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    file.unlink()
    file.with_name(f"{file.name}.zstd").write_bytes(packed[: len(packed) // 2])
    with refused(FormatError, ".mcap.zstd"):
        dvskit.open_events(folder).load()
    recording = dvskit.open_events(folder, strict=False)
    assert 1000 < len(recording.load()) < 19_000
    assert recording.damage


def test_a_cut_list_of_files_is_an_error_that_names_the_fix(data, tmp_path):
    split_real(data, tmp_path / "bag", parts=2)
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    for cut in (0, 20, 60, 100):
        (tmp_path / "bag" / "metadata.yaml").write_text(text[:cut])
        with refused(FormatError, "ros2 bag reindex" if cut == 60 else ""):
            dvskit.open_events(tmp_path / "bag")
        if cut >= 60:
            assert dvskit.load_events(tmp_path / "bag", strict=False) == whole(data).load()
    write_metadata(tmp_path / "bag", ["bag_0.db3"])
    recording = dvskit.open_events(tmp_path / "bag")
    assert any("bag_1.db3" in line for line in recording.assumptions)
    assert 0 < len(recording.load()) < len(whole(data).load())


def test_two_channels_of_one_topic_in_a_file_stay_apart(tmp_path):
    said = [array(rows_of(some_events(50, seed=seed)), number=seed) for seed in (1, 2)]
    folder = bags.write(tmp_path / "bag.mcap", said).parent
    (file,) = folder.glob("*.mcap")
    bags.cut_chunks(file, channel_each=True)
    recording, alone = dvskit.open_events(folder), dvskit.open_events(file)
    assert recording.load() == alone.load()
    assert recording.other_streams() == alone.other_streams() != {}
