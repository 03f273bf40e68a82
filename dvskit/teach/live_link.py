"""The connection of a page of `dvskit teach`: camera frames in, answers and the state out."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from dvskit.errors import ConfigError, DvskitError, one_line
from dvskit.render.serving import in_thread
from dvskit.render.view.viewed import message
from dvskit.teach.clip_folder import ClipFolder
from dvskit.teach.plain_words import plain_errors
from dvskit.teach.recorder import ClipRecorder

if TYPE_CHECKING:
    from dvskit.teach.answers import LiveAnswers

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
    good = isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)
    if not good or min(size) < 1 or size[0] * size[1] > _MOST_PIXELS:
        raise ConfigError(f"size {str(size)[:40]} is not a width and a height of frames")
    return size[0], size[1]
