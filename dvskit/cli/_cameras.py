"""The options --camera and --bias: a webcam, or a USB event camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dvskit.cli._options import option
from dvskit.errors import ConfigError
from dvskit.formats.usb_driver import CAMERAS, UsbAddress


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """A camera in place of the input: the options --camera and --bias."""

    camera: str | None = option(
        "Read a camera until Ctrl-C: a USB event camera (" + ", ".join(CAMERAS) + "; with :SERIAL "
        "for one of several, see dvskit cameras), or the view of a webcam, emulated: its number, "
        "from 0.",
        metavar="CAMERA", shown=False,
    )  # fmt: skip
    bias: list[str] | None = option(
        "Set a bias of the USB event camera, such as diff_on=20; may be repeated.",
        metavar="NAME=VALUE", shown=False,
    )  # fmt: skip

    def source(self) -> int | Path | None:
        """Return a webcam's number, or the address of an event camera; None without --camera.

        Raises ConfigError for anything else, and for --bias without an event camera.
        """
        biases = dict(_setting(text) for text in self.bias or ())
        if self.camera is not None and self.camera.isdecimal():
            if biases:
                raise ConfigError(f"--bias does not apply to a webcam, --camera {self.camera}")
            return int(self.camera)
        if self.camera is None:
            if biases:
                raise ConfigError("--bias needs --camera, which names an event camera")
            return None
        name, _, serial = self.camera.partition(":")
        if name not in CAMERAS or serial.strip("/?") != serial:
            raise ConfigError(
                f"--camera {self.camera}: is neither a webcam's number, from 0, nor an event "
                f"camera: {', '.join(CAMERAS)}, or with its serial number evk4:SERIAL"
            )
        return replace(UsbAddress(name, serial or None), biases=biases).path()

    def event_camera(self) -> Path | None:
        """Return the address of an event camera; None without --camera.

        Raises ConfigError for a webcam, and as `source` does.
        """
        camera = self.source()
        if isinstance(camera, int):
            raise ConfigError(
                f"--camera {camera} is a webcam; dvskit emulate --camera {camera} OUT writes the "
                "events of its view"
            )
        return camera


def input_and_output(
    file: Path | None, out: Path | None, camera: str | None, *, unnamed: str, kind: str
) -> tuple[Path | None, Path]:
    """Return the input, None for a camera, and the output, from the paths that were typed.

    camera   the camera in place of the input, as messages name it; None for none
    unnamed  the message if neither is named       kind  of output, in words

    Raises ConfigError.
    """
    if camera is not None:
        if file is not None and out is not None:
            raise ConfigError("--camera takes no input; name only the output")
        file, out = None, file
    elif file is None:
        raise ConfigError(unnamed)
    if out is None:
        raise ConfigError(f"{file or camera}: name the {kind} to write after it")
    return file, out


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"--bias {text!r} is not NAME=VALUE, such as diff_on=20")
    return name, value
