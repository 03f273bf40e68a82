"""The package neuromorphic-drivers: which USB event cameras it lists, and how it opens one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from dvskit.errors import ConfigError, FormatError, did_you_mean
from dvskit.formats.addresses import LiveAddress

# Names of cameras, and those of their modules in the package.
CAMERAS = {
    "evk4": "prophesee_evk4",
    "evk3": "prophesee_evk3_hd",
    "davis346": "inivation_davis346",
    "dvxplorer": "inivation_dvxplorer",
}
IDLE_S = 0.05  # the driver returns after this long without data, so that time without events passes
_RULES = "on Linux, allow access once: sudo neuromorphic-drivers-install-udev-rules"
_SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class UsbAddress:
    """A camera's name in `CAMERAS`, its serial number if one is asked for, and bias settings."""

    camera: str
    serial: str | None = None
    biases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, path: Path | str) -> UsbAddress:
        """Return the address in usb://CAMERA[:SERIAL][?BIAS=VALUE&...]. Raises ConfigError."""
        found = re.fullmatch(r"usb:/{1,2}([^:?/]*)(?::([^?/]+))?(?:\?(.*))?", str(path))
        if found is None:
            raise ConfigError(f"{path}: is not usb://CAMERA or usb://CAMERA:SERIAL")
        if found[1] not in CAMERAS:
            raise ConfigError(
                f"{path}: camera {found[1]!r} is unknown; {did_you_mean(found[1], CAMERAS)}"
            )
        return cls(found[1], found[2], dict(parse_qsl(found[3] or "", keep_blank_values=True)))

    def path(self) -> LiveAddress:
        """Return the address as a path for `open_events`."""
        query = f"?{urlencode(self.biases)}" if self.biases else ""
        return LiveAddress(f"usb://{self.name}{query}")

    @property
    def name(self) -> str:
        """The camera and its serial number, as they are typed: CAMERA or CAMERA:SERIAL."""
        return self.camera if self.serial is None else f"{self.camera}:{self.serial}"


@dataclass(frozen=True, slots=True)
class ListedCamera:
    """A connected USB event camera.

    name        that of its maker
    camera      what --camera takes, with the serial number; "" for a model that is not supported
    serial      None if it cannot be read
    connection  the bus and its speed
    problem     why it cannot be opened; "" if it can
    """

    name: str
    camera: str
    serial: str | None
    connection: str
    problem: str


def _driver() -> Any:
    try:
        return importlib.import_module("neuromorphic_drivers")
    except ImportError as error:
        raise ConfigError(
            "USB event cameras need the package neuromorphic-drivers, which cannot be imported "
            f"({error}); pip install neuromorphic-drivers"
        ) from error


def list_cameras() -> list[ListedCamera]:
    """Return the connected USB event cameras.

    Raises ConfigError without the package, FormatError if the system lists no USB devices.
    """
    driver = _driver()
    try:
        found = driver.list_devices()
    except (RuntimeError, OSError) as error:
        raise FormatError(f"USB devices cannot be listed ({error}); {_RULES}") from error
    known = {module: camera for camera, module in CAMERAS.items()}
    listed = []
    for each in found:
        camera = known.get(each.name.name.lower(), "")
        named = UsbAddress(camera, each.serial).name if camera else ""
        problem = f"{each.error}; {_RULES}" if each.error else ""
        listed.append(
            ListedCamera(each.name.value, named, each.serial, each.connection.value, problem)
        )
    return listed


def open_camera(address: UsbAddress) -> Any:
    """Return the driver's open device, set to the biases of an address.

    Raises ConfigError without the package and for biases that the camera lacks or that are out of
    range, FormatError for a camera that is absent, in use or not accessible.
    """
    driver = _driver()
    module = getattr(driver, CAMERAS[address.camera])
    biases = _biases(module.Biases(), address)
    _check_connected(address)
    try:
        device = driver.open(module.Configuration(), iterator_timeout=IDLE_S, serial=address.serial)
    except (RuntimeError, OSError) as error:
        raise FormatError(
            f"camera {address.name}: cannot be opened ({error}); end other programs that use it; "
            f"{_RULES}"
        ) from error
    if address.biases:
        try:
            _check_bounds(device.biases_bounds(), address, biases)
            device.update_configuration(module.Configuration(biases=biases))
        except BaseException:
            device.close()
            raise
    return device


def _check_connected(address: UsbAddress) -> None:
    listed = list_cameras()
    mine = [each for each in listed if each.camera.partition(":")[0] == address.camera]
    if any(each.problem for each in mine) and not any(not each.problem for each in mine):
        raise FormatError(f"camera {address.name}: cannot be opened: {mine[0].problem}")
    names = [each.camera for each in mine if each.serial is not None]
    if not mine or (address.serial is not None and address.name not in names):
        others = ", ".join(each.camera or each.name for each in listed)
        raise FormatError(
            f"camera {address.name}: is not connected; "
            + (f"connected: {others}" if others else "no USB event camera is")
        )


def _biases(biases: Any, address: UsbAddress) -> Any:
    """Set the biases of an address in the driver's dataclass. Raises ConfigError."""
    known = [each.name for each in fields(biases)]
    for name, text in address.biases.items():
        if name not in known:
            raise ConfigError(
                f"bias {name!r} is unknown to {address.camera}; {did_you_mean(name, known)}"
            )
        try:
            value = _SWITCH[text.lower()] if type(getattr(biases, name)) is bool else int(text, 0)
        except (KeyError, ValueError):
            kind = "true or false" if type(getattr(biases, name)) is bool else "a whole number"
            raise ConfigError(f"bias {name}={text}: the value must be {kind}") from None
        setattr(biases, name, value)
    return biases


def _check_bounds(bounds: Any, address: UsbAddress, biases: Any) -> None:
    for name in address.biases:
        limits, value = getattr(bounds, name, None), getattr(biases, name)
        if limits is not None and not limits.minimum <= value <= limits.maximum:
            raise ConfigError(
                f"bias {name}={value}: {address.name} takes {limits.minimum} to {limits.maximum}"
            )
