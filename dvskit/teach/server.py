"""The page of `dvskit teach`: classes and clips, a training, and live answers, for this machine."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from dvskit import _files
from dvskit.errors import ConfigError, OutputError
from dvskit.render.page import themed
from dvskit.render.serving import LocalServer, answering, in_thread, save_body
from dvskit.teach.clip_folder import ClipFolder
from dvskit.teach.commands import saved_commands
from dvskit.teach.kept_address import KeptAddress, read_address, write_address
from dvskit.teach.live_link import LiveLink, json_object
from dvskit.teach.plain_words import plain_errors
from dvskit.teach.teach_training import TeachTraining

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
        asked = _Asked(text)
        folder, training = self._folder, self._training
        actions: dict[str, Callable[[], Any]] = {
            "add_class": lambda: folder.add_class(asked.text("name")),
            "rename_class": lambda: folder.rename_class(asked.text("old"), asked.text("new")),
            "delete_class": lambda: folder.delete_class(asked.text("name"), with_clips=True).token,
            "move_clip": lambda: (
                folder.move_clip(
                    asked.text("clip"), asked.text("label"), asked.text("person") or None
                ).file
            ),
            "undo_move": lambda: folder.undo_move(asked.text("clip")),
            "delete_clip": lambda: folder.delete_clip(asked.text("clip")).token,
            "undo": lambda: folder.undo(asked.text("token")),
            "train": lambda: training.start({"minutes": asked.number("minutes")}),
            "stop": training.stop,
            "resume": training.resume,
        }
        name = asked.text("do")
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


class _Asked:
    """The fields of an action. They raise ConfigError if they are missing or of another type."""

    def __init__(self, text: bytes) -> None:
        self._fields = json_object(text, "the action")

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise ConfigError(f"{name} of the action is not a text")
        return value

    def number(self, name: str) -> float:
        value = self._fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name} of the action is not a number")
        return value
