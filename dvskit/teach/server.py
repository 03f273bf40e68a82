"""The page of `dvskit teach`: classes and clips, a training, and live answers, for this machine."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
import re
import stat
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dvskit import _files
from dvskit._tables import read_value
from dvskit.errors import ConfigError, DvskitError, OutputError, one_line
from dvskit.formats.index_cache import cache_folder
from dvskit.render.pages import themed
from dvskit.render.serving import LocalServer, answering, in_thread, save_body
from dvskit.render.view import message
from dvskit.teach.clip_folder import ClipFolder, ClipRecorder
from dvskit.teach.plain_words import plain_errors, saved_commands
from dvskit.teach.teach_training import TeachTraining

if TYPE_CHECKING:
    from dvskit.teach.answers import LiveAnswers

_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no links, no waiting
_TOKEN = re.compile(r"[\w-]{24}", re.ASCII)


class KeptAddress(NamedTuple):
    """A port and a token; 0 and "" for none."""

    port: int = 0
    token: str = ""


def address_file(folder: Path) -> Path:
    """Return the file that keeps the address of a folder of clips."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return cache_folder() / "teach" / f"{name}.json"


def read_address(file: Path) -> KeptAddress:
    """Return the kept address; none if the file is missing, damaged, or open to others."""
    try:
        found = os.open(file, os.O_RDONLY | _CAREFULLY)
        with os.fdopen(found, encoding="utf-8") as text:
            if not _is_private(os.fstat(found)):
                return KeptAddress()
            port, token = json.load(text)
    except (OSError, ValueError, TypeError):
        return KeptAddress()
    good = type(port) is int and 0 < port < 1 << 16 and isinstance(token, str)
    return KeptAddress(port, token) if good and _TOKEN.fullmatch(token) else KeptAddress()


def write_address(file: Path, address: KeptAddress) -> None:
    """Keep an address, readable by this user alone. Does nothing where it cannot be written."""
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w", encoding="utf-8") as text:
            json.dump(address, text)


def _is_private(found: os.stat_result) -> bool:
    if sys.platform == "win32":  # the folder of a user is closed to others
        return True
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_uid == os.getuid()
        and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


_EACH_S = 0.5  # between two looks at the state
_TIME = struct.Struct("<q")
_MOST_PIXELS = 1 << 20


class LiveLink:
    """One page's web socket, until it is closed.

    Texts are JSON. From the page: {"size": [width, height]} before the first frame and when it
    changes; {"record": {"label", "person"}}, {"finish": true}, {"discard": true}. To the page:
    {"state": ...} when it changes, {"recorded": file}, {"problem": line}.

    Frames are binary: the time in microseconds (int64), and a byte a pixel. All frames between
    "record" and "finish" are recorded. A page that goes away finishes its recording. Frames are
    answered one at a time; those that come meanwhile are skipped, except for the newest, and
    counted. An answer is `message(facts, RGB picture)`.
    """

    def __init__(
        self, link: WebSocket, folder: ClipFolder, state: Callable[[], dict[str, Any]]
    ) -> None:
        self._link, self._folder, self._state = link, folder, state
        self._size: tuple[int, int] | None = None
        self._recorder: ClipRecorder | None = None
        self._model: str | None = None
        self._frames = 0  # since the connection began
        self._latest: tuple[int, int, NDArray[np.uint8]] | None = None
        self._came = asyncio.Event()

    async def run(self) -> None:
        """Serve it until the page goes away."""
        await self._link.accept()
        others = [asyncio.create_task(each()) for each in (self._tell_state, self._answer)]
        try:
            while (came := await self._link.receive())["type"] == "websocket.receive":
                try:
                    with plain_errors():
                        await self._take(came)
                except DvskitError as error:
                    await self._send(problem=one_line(error))
        except WebSocketDisconnect:
            pass
        finally:
            for each in others:
                each.cancel()
            if self._recorder is not None:
                with suppress(DvskitError):  # too short
                    self._recorder.finish()

    async def _send(self, **fields: Any) -> None:
        await self._link.send_text(json.dumps(fields))

    async def _take(self, came: Any) -> None:
        if came.get("bytes") is not None:
            await self._take_frame(came["bytes"])
            return
        asked = json_object(came["text"], "a message of the page")
        if "size" in asked:
            self._size, self._latest = _checked_size(asked["size"]), None
        elif "record" in asked:
            await self._record(asked["record"])
        elif self._recorder is not None:
            recorder, self._recorder = self._recorder, None
            if "finish" in asked:
                clip = await in_thread(recorder.finish)
                await self._send(recorded=clip.file)
            else:
                await in_thread(recorder.discard)

    async def _record(self, asked: Any) -> None:
        if not (isinstance(asked, dict) and self._size):
            raise ConfigError("there are no frames to record; start the camera first")
        if self._recorder is not None:
            raise ConfigError("a clip is being recorded; finish it first")
        label, person = str(asked.get("label")), str(asked.get("person"))
        self._recorder = await in_thread(ClipRecorder, self._folder, label, person, self._size)

    async def _take_frame(self, data: bytes) -> None:
        self._frames += 1
        if self._size is None or len(data) != _TIME.size + self._size[0] * self._size[1]:
            raise ConfigError(f"a frame of {len(data):,} bytes does not have the size {self._size}")
        frame = np.frombuffer(data, np.uint8, offset=_TIME.size).reshape(self._size[::-1])
        (t_us,) = _TIME.unpack_from(data)
        self._latest = self._frames, t_us, frame
        self._came.set()
        if self._recorder is not None:
            await in_thread(self._recorder.add, t_us, frame)

    async def _tell_state(self) -> None:
        """Send the state when it changes."""
        last = ""
        with suppress(WebSocketDisconnect):
            while True:
                try:
                    with plain_errors():
                        state = await in_thread(self._state)
                    self._model = state["training"]["model"]
                    text = json.dumps({"state": state})
                except DvskitError as error:
                    text = json.dumps({"problem": one_line(error)})
                if text != last:
                    await self._link.send_text(text)
                    last = text
                await asyncio.sleep(_EACH_S)

    async def _answer(self) -> None:
        """Answer the newest frame, one after the other."""
        answers, using, answered = None, None, 0
        with suppress(WebSocketDisconnect):
            while True:
                await self._came.wait()
                self._came.clear()
                if self._latest is None or self._size is None:
                    continue
                number, t_us, frame = self._latest
                try:
                    if using != (self._model, self._size):
                        wanted = self._model, self._size
                        answers = await in_thread(_live_answers, *wanted)
                        using, answered = wanted, number
                    assert answers is not None
                    facts, picture = await in_thread(_facts, answers, t_us, frame)
                except (DvskitError, OSError) as error:
                    using = None  # for frames whose times begin again
                    await self._send(problem=one_line(error))
                    continue
                facts |= {"frame": number, "t_us": t_us, "skipped": max(0, number - answered - 1)}
                answered = number
                await self._link.send_bytes(message(facts, picture))


def _live_answers(model: str | None, size: tuple[int, int]) -> LiveAnswers:
    from dvskit.teach.answers import LiveAnswers  # loads torch, which takes seconds

    return LiveAnswers(model, size)


def _facts(
    answers: LiveAnswers, t_us: int, frame: NDArray[np.uint8]
) -> tuple[dict[str, Any], bytes]:
    found = answers.add(t_us, frame)
    height, width = found.picture.shape[:2]
    facts = {
        "width": width,
        "height": height,
        "events": found.events,
        "classes": list(answers.classes),
        "probabilities": found.probabilities,
        "answer": found.answer,
        "nothing": found.nothing,
        "latency_ms": found.latency_ms,
    }
    return facts, found.picture.tobytes()


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Return the fields of a JSON object. Raises ConfigError, with `what`, for another text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{what} is not a JSON object")
    return found


def _checked_size(size: Any) -> tuple[int, int]:
    width, height = read_value(tuple[int, int], size, "size")
    if min(width, height) < 1 or width * height > _MOST_PIXELS:
        raise ConfigError(f"size {str(size)[:40]} is not a width and a height of frames")
    return width, height


_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_MOST_BYTES = 10_000  # of an action
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src blob:; connect-src 'self' ws://{host}"
)


class TeachServer(LocalServer):
    """Serves the page of a folder of clips while its context is open.

    Closing it ends neither the folder nor the training.

    kept  a file that keeps the address for the next start: see `kept_address`. If the port of the
          last start is free, and `port` is 0 or the same, the address stays as it was

    Raises OutputError if the port is not available.
    """

    def __init__(
        self,
        folder: ClipFolder,
        training: TeachTraining,
        *,
        port: int = 0,
        kept: Path | None = None,
    ) -> None:
        before = KeptAddress() if kept is None else read_address(kept)
        again = before if port in (0, before.port) else KeptAddress(port)
        routes = self._routes()
        try:
            super().__init__(routes, command="teach", port=again.port, token=again.token)
        except OutputError:
            if port:
                raise
            super().__init__(routes, command="teach")
        if kept is not None:
            write_address(kept, KeptAddress(self.port, self.token))
        self._folder, self._training = folder, training

    def _routes(self) -> list[BaseRoute]:
        pages = files("dvskit.teach").joinpath("web").iterdir()
        return [
            *(Route(f"/{each.name}", self._page) for each in pages),
            Route("/", self._page),
            Route("/thumbnail", answering("image/jpeg", self._thumbnail)),
            Route("/preview", answering("image/webp", self._preview)),
            Route("/commands", answering("application/json", lambda query: self._commands())),
            Route("/do", self._do, methods=["POST"]),
            Route("/video", self._video, methods=["POST"]),
            WebSocketRoute("/live", self._live),
        ]

    def state(self) -> dict[str, Any]:
        """Return what the page shows, as values for JSON: classes, clips, training."""
        deleted = self._folder.deleted()[:1]
        return {
            "folder": str(self._folder.path.resolve()),
            "classes": self._folder.classes(),
            "clips": [asdict(each) for each in self._folder.clips()],
            "recovered": [each.file for each in self._folder.recovered],
            "deleted": asdict(deleted[0]) if deleted else None,
            "training": self._training.state(),
        }

    def _page(self, request: Request) -> Response:
        name = request.url.path.rpartition("/")[2] or "teach.html"
        text = files("dvskit.teach").joinpath("web", name).read_text(encoding="utf-8")
        if name.endswith(".css"):
            text = themed(text)
        text = text.replace("{{folder}}", html.escape(self._folder.path.resolve().name))
        policy = _POLICY.format(host=request.headers["host"])
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(text, media_type=kind, headers={"Content-Security-Policy": policy})

    def _thumbnail(self, query: Mapping[str, str]) -> bytes:
        return self._folder.thumbnail(query.get("clip", ""))

    def _preview(self, query: Mapping[str, str]) -> bytes:
        return self._folder.preview(query.get("clip", ""))

    def _commands(self) -> bytes:
        """Return the newest model's folder, and the commands that use it."""
        model = self._training.model
        if model is None:
            raise ConfigError("there is no model; train first")
        commands = saved_commands(model)
        return json.dumps([("its folder", str(model)), *commands]).encode()

    async def _live(self, link: WebSocket) -> None:
        await LiveLink(link, self._folder, self.state).run()

    async def _do(self, request: Request) -> Response:
        """Carry out an action; answer with its result and the state after it."""
        text = b""
        async for data in request.stream():
            text += data
            if len(text) > _MOST_BYTES:
                raise ConfigError(f"the action has more than {_MOST_BYTES:,} bytes")
        return JSONResponse(await in_thread(self._done, text))

    def _done(self, text: bytes) -> dict[str, Any]:
        asked, folder, training = json_object(text, "the action"), self._folder, self._training

        def given(name: str) -> str:
            return str(read_value(str, asked.get(name), name))

        actions: dict[str, Callable[[], Any]] = {
            "add_class": lambda: folder.add_class(given("name")),
            "rename_class": lambda: folder.rename_class(given("old"), given("new")),
            "delete_class": lambda: folder.delete_class(given("name"), with_clips=True).token,
            "move_clip": lambda: (
                folder.move_clip(given("clip"), given("label"), given("person") or None).file
            ),
            "undo_move": lambda: folder.undo_move(given("clip")),
            "delete_clip": lambda: folder.delete_clip(given("clip")).token,
            "undo": lambda: folder.undo(given("token")),
            "train": lambda: training.start({"minutes": asked.get("minutes")}),
            "stop": training.stop,
            "resume": training.resume,
        }
        name = given("do")
        if name not in actions:
            raise ConfigError(f"action {name[:40]!r} is none of {', '.join(actions)}")
        with plain_errors():
            return {"result": actions[name](), "state": self.state()}

    async def _video(self, request: Request) -> Response:
        """Add a video to a class."""
        query = {name: request.query_params.get(name, "") for name in ("label", "person", "name")}
        with _files.temporary_folder() as folder:
            path = Path(folder) / "video"
            await save_body(request, path)
            with plain_errors():
                clip = await in_thread(lambda: self._folder.add_video(path, **query))
                return JSONResponse({"result": clip.file, "state": await in_thread(self.state)})
