"""Small hostile files end commands in one line, soon and without much memory."""

from __future__ import annotations

import sys

import pytest

from dvskit.errors import ConfigError
from dvskit.reconstruction import OnnxReconstructor
from tests.hostile import HOSTILE, LOOP, ended, network
from tests.laws import refused, refused_command


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
@pytest.mark.parametrize("row", HOSTILE, ids=lambda row: f"{row.file}-{row.named}")
def test_a_hostile_file_is_read_or_refused_in_one_line_soon_and_in_little_memory(tmp_path, row):
    (folder := tmp_path / "here").mkdir()
    code, printed, seconds, mb = ended(row, folder)
    if row.read:
        assert (code, row.named in printed) == (0, True)
    else:
        refused_command((code, "", printed + "\n"), row.named, row.file.split("/")[0])
    assert seconds < 100  # on a busy machine; alone, at most 15
    assert mb < 500 + row.most_mb


def test_a_network_with_an_endless_loop_is_ended_at_its_limit(tmp_path):
    network(tmp_path / "a.onnx", LOOP)
    with refused(ConfigError, "a.onnx", "0.1 s"):
        OnnxReconstructor(tmp_path / "a.onnx", limit_s=0.1).start((16, 16)).image(0)
