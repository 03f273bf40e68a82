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
from dvskit.formats.ros.folder import BagFolder, listed_files
from dvskit.formats.ros.ros2 import Db3File, McapFile
from tests import ros_bags as bags
from tests.ros_bags import SIZE, array, assert_same_triggers, rows_of, some_events

TOPICS = """
  topics_with_message_count:
    - topic_metadata:
        name: /camera/events
        type: event_camera_msgs/msg/EventPacket
        serialization_format: cdr
        offered_qos_profiles: "- history: 3\\n  depth: 0"
      message_count: 4"""
# What rosbag2 writes: up to Galactic the list comes first, later behind the topics.
METADATA = {
    "foxy": "rosbag2_bagfile_information:\n  version: 4\n  storage_identifier: sqlite3\n"
    "  relative_file_paths:\n{files}  duration:\n    nanoseconds: 143497058611{topics}\n"
    '  compression_format: ""\n  compression_mode: ""\n',
    "jazzy": "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n"
    "  message_count: 4{topics}\n  relative_file_paths:\n{files}  files:\n    - path: other.db3\n"
    "  custom_data: ~\n  ros_distro: jazzy\n",
}


def write_metadata(folder, names, *, style="foxy", ahead=""):
    files = "".join(f"    - {ahead}{name}\n" for name in names)
    text = METADATA[style].format(files=files, topics=TOPICS)
    (folder / "metadata.yaml").write_text(text)


def split_real(data, folder, *, parts=3, style="foxy"):
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
    write_metadata(folder, names, style=style)
    return [folder / name for name in names]


def whole(data):
    return dvskit.open_events(data / "recordings" / "ros2_evt3_640x480.db3")


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("style", METADATA)
@pytest.mark.parametrize("strict", [True, False])
def test_a_split_recording_is_read_as_one(data, tmp_path, style, strict):
    split_real(data, tmp_path / "bag", style=style)
    recording = dvskit.open_events(tmp_path / "bag", strict=strict)
    assert recording.format == "rosbag2"
    assert recording.load() == whole(data).load()
    assert not recording.damage
    assert_same_triggers(recording.triggers(), whole(data).triggers())
    part = recording.between(600_000, 650_000)
    assert part.load() == whole(data).between(600_000, 650_000).load()


@pytest.mark.parametrize("container", ["db3", "mcap"])
@pytest.mark.parametrize("compression", ["", "file", "message", "storage"])
def test_the_folders_of_rosbags_are_read(tmp_path, container, compression):
    events = some_events(500, seed=3)
    said = [array(rows_of(events))]
    if compression == "file":
        folder = bags.write(tmp_path / f"bag.{container}", said).parent
        for file in folder.glob(f"*.{container}"):
            packed = zstandard.compress(file.read_bytes())
            file.unlink()
            file.with_name(f"{file.name}.zstd").write_bytes(packed)
        text = (folder / "metadata.yaml").read_text()
        (folder / "metadata.yaml").write_text(text.replace(f".{container}", f".{container}.zstd"))
    elif compression == "storage" and container == "db3":
        pytest.skip("sqlite3 has none")
    else:
        folder = bags.write(tmp_path / f"bag.{container}", said, compression=compression).parent
    recording = dvskit.open_events(folder)
    assert recording.load() == events
    assert recording.size == SIZE
    assert dvskit.load_events(folder, format="rosbag2:/dvs/events") == events


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("relative_file_paths:\n  - a_0.db3\n  - a_1.db3\n", ["a_0.db3", "a_1.db3"]),
        ("  relative_file_paths: [a.mcap, 'b c.mcap']\n", ["a.mcap", "b c.mcap"]),
        ('  relative_file_paths:\r\n    - "a b.db3"\r\n  duration: 3\n', ["a b.db3"]),
        ("  relative_file_paths:\n    - folder/a.db3.zstd # last\n", ["a.db3.zstd"]),
        ("  relative_file_paths:\n    - ../../etc/passwd\n", ["passwd"]),
        ("  relative_file_paths: []\n", []),
        ("  relative_file_paths:\n  topics: 3\n", []),
        ("rosbag2_bagfile_information:\n  version: 4\n", []),
    ],
)
def test_names_of_files_are_read_without_their_folders(text, names):
    assert listed_files(text) == names


def test_a_missing_file_is_one_line_and_salvage_reads_the_rest(data, tmp_path):
    files = split_real(data, tmp_path / "bag")
    files[1].unlink()
    with pytest.raises(MissingFileError, match=r"bag_1.db3: no such file; metadata.yaml lists it"):
        dvskit.open_events(tmp_path / "bag")
    recording = dvskit.open_events(tmp_path / "bag", strict=False)
    events = recording.load()
    assert 0.4 * len(whole(data).load()) < len(events) < len(whole(data).load())
    assert recording.damage.count >= 1
    assert "bag_1.db3: no such file" in recording.damage.losses[0].problem
    for file in files[::2]:
        file.unlink()
    with pytest.raises(FormatError, match="none of its files can be read"):
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
    with pytest.raises(FormatError, match=r"\.mcap\.zstd: does not decompress: the file is cut"):
        dvskit.open_events(folder).load()
    recording = dvskit.open_events(folder, strict=False)
    assert 1000 < len(recording.load()) < 19_000
    assert recording.damage


def test_a_file_that_becomes_huge_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dvskit.formats.ros.folder._LEAST_UNPACKED", 1 << 16)
    folder = tmp_path / "bag"
    folder.mkdir()
    write_metadata(folder, ["bag_0.db3.zstd"])
    (folder / "bag_0.db3.zstd").write_bytes(zstandard.compress(bytes(1 << 24)))
    with pytest.raises(FormatError, match=r"it becomes more than [0-9,]+ bytes"):
        dvskit.open_events(folder)


@pytest.mark.parametrize("cut", [0, 20, 60, 100])
def test_a_cut_list_of_files_is_an_error_that_names_the_fix(data, tmp_path, cut):
    files = split_real(data, tmp_path / "bag", parts=2)
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    (tmp_path / "bag" / "metadata.yaml").write_text(text[:cut])
    with pytest.raises(FormatError) as caught:
        dvskit.open_events(tmp_path / "bag")
    assert "\n" not in str(caught.value)
    if cut >= 60:
        assert "ros2 bag reindex" in str(caught.value) or "no such file" in str(caught.value)
        assert dvskit.load_events(tmp_path / "bag", strict=False) == whole(data).load()
    assert len(files) == 2


def test_a_file_that_is_not_listed_is_named(data, tmp_path):
    split_real(data, tmp_path / "bag", parts=2)
    write_metadata(tmp_path / "bag", ["bag_0.db3"])
    recording = dvskit.open_events(tmp_path / "bag")
    assert "bag_1.db3 is left out: metadata.yaml does not list it" in recording.assumptions
    assert len(recording.load()) < len(whole(data).load())


def test_a_folder_among_others_is_one_recording(data, tmp_path):
    (tmp_path / "set").mkdir()
    split_real(data, tmp_path / "set" / "wave")
    found = find_recordings(tmp_path / "set")
    assert found.recordings == [tmp_path / "set" / "wave"]


def test_commands_take_the_folder(run, data, tmp_path):
    split_real(data, tmp_path / "bag")
    code, out, err = run("info", "bag")
    assert (code, err) == (0, "")
    assert "bag: rosbag2" in out
    code, _, err = run("convert", "bag", "out.raw")
    assert code == 0, err
    assert dvskit.load_events(tmp_path / "out.raw") == whole(data).load()
    (tmp_path / "bag" / "bag_2.db3").unlink()
    code, _, err = run("info", "bag")
    assert code == 1
    assert err.count("\n") == 1
    assert "bag_2.db3" in err
    assert "--salvage" in err


def test_two_channels_of_one_topic_in_a_file_stay_apart(tmp_path):
    folder = bags.write(tmp_path / "bag.mcap", [array(rows_of(some_events(50, seed=2)))]).parent
    bag, file = BagFolder(folder, strict=True), McapFile(next(folder.glob("*.mcap")))
    (own,) = file.channels.values()
    file.channels[own.number + 1] = own._replace(number=own.number + 1)
    assert sorted(bag._declare_all(file).values()) == [own.number, own.number + 1]
    assert len(bag.channels) == 2


@pytest.mark.parametrize("container", ["db3", "mcap"])
def test_a_topic_may_be_named_as_of_the_files(tmp_path, container):
    events = some_events(300, seed=9)
    folder = bags.write(tmp_path / f"bag.{container}", [array(rows_of(events))]).parent
    assert dvskit.load_events(folder, format=f"{container}:/dvs/events") == events
    with pytest.raises(FormatError, match="no events on a topic '/other'"):
        dvskit.open_events(folder, format=f"{container}:/other")


def test_a_part_is_found_without_reading_the_files_ahead(data, tmp_path, monkeypatch):
    monkeypatch.setenv("DVSKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dvskit.formats.ros.reading.LEAST_BYTES", 1 << 16)
    monkeypatch.setattr("dvskit.formats.prophesee.decoding.CHUNK_WORDS", 1 << 12)
    split_real(data, tmp_path / "bag")
    recording = dvskit.open_events(tmp_path / "bag")
    events = whole(data).load()
    last = int(events.t[-1]) - 100_000
    assert recording.between(last, None).load() == events.between(last, None)
    opened = []
    read = Db3File.messages

    def counted(self, *arguments):
        opened.append(self.path.name)
        return read(self, *arguments)

    monkeypatch.setattr(Db3File, "messages", counted)
    assert recording.between(last, None).load() == events.between(last, None)
    assert set(opened) == {"bag_2.db3"}
    middle = int(events.t[len(events) // 2])
    assert recording.between(middle, last).load() == events.between(middle, last)


@pytest.mark.slow(seconds=6)
def test_folders_of_a_class_are_samples(data, tmp_path):
    for label in ("wave", "clap"):
        (tmp_path / "set" / label).mkdir(parents=True)
        split_real(data, tmp_path / "set" / label / "p1", parts=2)
    samples = dvskit.datasets.open_samples(tmp_path / "set")
    assert samples.classes == ("clap", "wave")
    assert len(samples) == 2
    assert samples.events(0) == whole(data).load()
