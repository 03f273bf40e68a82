"""The server of `dvskit teach`: actions, videos, and frames through its web socket."""

from __future__ import annotations

import hmac
import http.client
import json
import os
import socket
import stat
import struct
from contextlib import closing, contextmanager
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dvskit.errors import OutputError
from dvskit.teach import ClipFolder
from dvskit.teach.server import KeptAddress, address_file, read_address, write_address
from dvskit.video import VideoFrames
from tests.laws import refused
from tests.teach_clips import SIZE, movement, record, serving


@pytest.fixture
def folder(tmp_path):
    with ClipFolder(tmp_path / "gestures") as folder:
        folder.add_class("wave")
        yield folder


@pytest.fixture
def served(folder, tmp_path):
    with serving(folder, tmp_path / "runs") as served:
        yield served


def ask(served, path, body=None):
    with closing(http.client.HTTPConnection(served.host, timeout=60)) as link:
        method = "GET" if body is None else "POST"
        link.request(method, urlsplit(served.url).path + path, body=body)
        answer = link.getresponse()
        return answer.status, answer.read(), answer.headers


def do(served, what, **details):
    status, body, _ = ask(served, "do", json.dumps({"do": what, **details}))
    assert status == 200, body
    return json.loads(body)


class Page:
    """What a page sends and gets."""

    def __init__(self, link):
        self.link = link

    def send(self, **told):
        self.link.send(json.dumps(told))

    def frames(self, label, seed, count=20):
        found = list(movement(label, seed, count))
        for t_us, frame in found:
            self.link.send(struct.pack("<q", t_us) + frame.tobytes())
        return found

    def hear(self, *wanted):
        """Return the next message that has one of these keys; answers have the key "answer"."""
        while True:
            data = self.link.recv(timeout=60)
            told = json.loads(data) if isinstance(data, str) else unpacked(data)
            if set(wanted) & set(told):
                return told


def refuses(served, token):
    """Whether all doors are closed to a token."""
    with closing(http.client.HTTPConnection(served.host, timeout=60)) as link:
        link.request("POST", f"/{token}/do", b'{"do": "add_class", "name": "stolen"}')
        answered = link.getresponse().status
    try:
        with connect(f"ws://{served.host}/{token}/live"):
            return False
    except InvalidStatus as refused:
        return (answered, refused.response.status_code) == (403, 403)


@contextmanager
def opened(served):
    with connect(f"{served.url.replace('http', 'ws')}live") as link:
        yield Page(link)


def unpacked(data):
    (length,) = struct.unpack_from("<I", data)
    told = json.loads(data[4 : 4 + length])
    assert len(data) == 4 + length + 3 * told["width"] * told["height"]
    return told


def test_actions_change_the_folder_and_answer_with_the_state(served, folder):
    assert do(served, "add_class", name=" clap ")["result"] == "clap"
    state = do(served, "rename_class", old="clap", new="up")["state"]
    assert state["classes"] == folder.classes() == ["up", "wave"]
    token = do(served, "delete_class", name="up")["result"]
    assert folder.classes() == ["wave"]
    assert do(served, "undo", token=token)["result"] == "up"
    status, answer, _ = ask(served, "commands")
    assert (status, b"no model" in answer) == (400, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"[1]", "JSON"),
        (b"{}", "do "),
        (b'{"do": "format_disk"}', "'format_disk'"),
        (b'{"do": "add_class", "name": 3}', "name"),
        (b'{"do": "delete_clip", "clip": "wave/../../x"}', "clip"),
        (b'{"do": "train", "minutes": true}', "minutes"),
        (b'{"do": "train", "minutes": 1e99}', "1e+99"),
        (b'{"do": "train", "minutes": 1}', "“wave”"),
        (b"x" * 20_000, "10,000 bytes"),
    ],
)
def test_wrong_actions_are_refused_in_a_line(served, folder, body, named):
    status, answer, _ = ask(served, "do", body)
    assert status == 400
    assert named in answer.decode()
    assert b"\n" not in answer
    assert folder.classes() == ["wave"]


def test_the_page_runs_no_code_but_its_own_files(served):
    for name, kind in (("", "text/html"), ("page.js", "text/javascript")):
        status, body, headers = ask(served, name)
        assert (status, headers.get_content_type()) == (200, kind)
        assert "script-src 'self';" in headers["Content-Security-Policy"]
        assert b"{{" not in body
    assert b"gestures" in ask(served, "")[1]
    assert ask(served, "../server.py")[0] == ask(served, "web/page.js")[0] == 404


def test_recorded_frames_are_on_disk_bit_for_bit(served, folder):
    with opened(served) as page:
        page.send(size=list(SIZE))
        page.frames("across", 1, 3)  # before the recording
        page.send(record={"label": "wave", "person": "anna"})
        sent = page.frames("across", 2)
        page.send(finish=True)
        page.frames("across", 3, 3)
        assert page.hear("recorded") == {"recorded": "wave/anna_t1.mkv"}
    found = list(VideoFrames(folder.path / "wave/anna_t1.mkv"))
    assert len(found) == len(sent)
    for (t_us, frame), (sent_us, sent_frame) in zip(found, sent, strict=True):
        assert t_us == sent_us - sent[0][0]
        np.testing.assert_array_equal(frame, sent_frame)


@pytest.mark.slow
@pytest.mark.parametrize("discards", [False, True])
def test_a_page_that_goes_away_keeps_its_recording_and_one_that_discards_does_not(
    served, folder, discards
):
    with opened(served) as page, opened(served) as other:
        page.send(size=list(SIZE), ignored=1)
        page.send(record={"label": "wave", "person": "bo"})
        page.frames("across", 4)
        if discards:
            page.send(discard=True)
        page.link.close()
        while not discards and not other.hear("state")["state"]["clips"]:
            pass
    clips = [(clip.file, clip.frames) for clip in folder.clips()]
    assert clips == ([] if discards else [("wave/bo_t1.mkv", 20)])


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("[" * 99_000, "JSON"),
        ('{"size": [99999, 99999]}', "width"),
        ('{"record": 3}', "camera"),
        (b"123", "3 bytes"),
    ],
)
def test_wrong_messages_are_answered_and_the_link_goes_on(served, message, named):
    with opened(served) as page:
        page.link.send(message)
        assert named in page.hear("problem")["problem"]
        page.send(size=[4, 4])
        page.send(record={"label": "none of it", "person": "a"})
        assert "“none of it”" in page.hear("problem")["problem"]


def test_a_message_larger_than_any_frame_ends_the_link_alone(served):
    def ask_too_much(page):
        page.link.send(bytes(1 << 23))
        page.hear("never")

    with opened(served) as page:
        with pytest.raises(ConnectionClosed):
            ask_too_much(page)
        assert do(served, "stop")


@pytest.mark.slow
def test_frames_are_answered_with_a_picture_of_their_events(served):
    with opened(served) as page:
        page.send(size=list(SIZE))
        for number, (t_us, frame) in enumerate(movement("across", 5, 8), 1):
            page.link.send(struct.pack("<q", t_us) + frame.tobytes())
            told = page.hear("answer", "problem")
            assert (told["frame"], told["t_us"]) == (number, t_us)
        assert told["events"] > 10
        assert (told["classes"], told["answer"], told["skipped"]) == ([], None, 0)


def test_a_video_is_added_shown_and_deleted(served, folder, tmp_path):
    record(folder, "wave", "anna", 6)
    video = (folder.path / "wave/anna_t1.mkv").read_bytes()
    status, body, _ = ask(served, "video?label=wave&person=b%C3%B6&name=x.mkv", video)
    assert status == 200
    clip = json.loads(body)["result"]
    assert clip == "wave/bö_t1.mkv"
    assert ask(served, f"thumbnail?clip={quote(clip)}")[1].startswith(b"\xff\xd8")
    assert ask(served, f"preview?clip={quote(clip)}")[1][8:12] == b"WEBP"
    status, body, _ = ask(served, "video?label=wave&person=a&name=notes.txt", b"no video")
    assert status == 400
    assert "“notes.txt”" in body.decode()
    do(served, "delete_clip", clip=clip)
    assert [each.file for each in folder.clips()] == ["wave/anna_t1.mkv"]


@pytest.mark.slow
def test_the_next_server_of_a_folder_has_its_address_and_still_refuses_other_tokens(
    folder, tmp_path
):
    kept = tmp_path / "cache" / "address.json"
    with serving(folder, tmp_path / "runs", kept) as first:
        url, token = first.url, first.token
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with serving(folder, tmp_path / "runs", kept) as second:
        assert second.url == url
        assert ask(second, "")[0] == 200
        assert all(refuses(second, wrong) for wrong in ("", token[:-1], f"{token}x", "%00"))
        assert not refuses(second, token)
    with serving(folder, tmp_path / "runs") as other:  # nothing is kept
        assert other.token != token
        assert refuses(other, token)


@pytest.mark.slow
def test_a_token_whose_port_another_program_has_taken_is_not_used_again(folder, tmp_path):
    kept = tmp_path / "address.json"
    with serving(folder, tmp_path / "runs", kept) as first:
        port, token = first.port, first.token
    with socket.create_server(("127.0.0.1", port)):
        with serving(folder, tmp_path / "runs", kept) as second:
            assert second.port != port
            assert second.token != token
            assert refuses(second, token)
        with (
            refused(OutputError, port),
            serving(folder, tmp_path / "runs", kept, port),
        ):
            pass


def test_an_address_that_others_may_know_is_not_used(tmp_path):
    file, address = tmp_path / "address.json", KeptAddress(8000, "x" * 24)
    write_address(file, address)
    assert read_address(file) == address
    for mode in (0o640, 0o604, 0o660):
        file.chmod(mode)
        assert read_address(file) == KeptAddress()
    write_address(file, address)
    assert read_address(file) == address
    (link := tmp_path / "link").symlink_to(file)
    assert read_address(link) == KeptAddress()
    write_address(link, KeptAddress(8001, "y" * 24))  # replaces the link, not its target
    assert (read_address(link).port, read_address(file)) == (8001, address)
    os.mkfifo(pipe := tmp_path / "pipe", 0o600)
    assert read_address(pipe) == read_address(tmp_path) == KeptAddress()
    token = "x" * 24
    wrong = [f'["8000", "{token}"]', '[8000, "short"]', f'[8000, "{token[:-1]}/"]']
    wrong += [f'[{port}, "{token}"]' for port in ("true", "0", "65536")]
    for text in ("[]", "3", "\xff", *wrong):
        write_address(file, KeptAddress())
        file.write_text(text, "latin-1")
        assert read_address(file) == KeptAddress(), text
    assert address_file(tmp_path) != address_file(tmp_path / "a")
    assert address_file(tmp_path / "a" / "..") == address_file(tmp_path)


def test_a_page_learns_without_its_token_whether_the_server_knows_it(served):
    def proof(text, host=served.host):
        with closing(http.client.HTTPConnection(served.host, timeout=60)) as link:
            link.request("GET", f"/proof?{text}", headers={"Host": host})
            answer = link.getresponse()
            return answer.status, answer.read().decode()

    assert proof("abc") == (200, hmac.digest(served.token.encode(), b"abc", "sha256").hex())
    assert proof("abd") != proof("abc")
    assert proof("abc", "evil.example")[0] == 403
