"""Images by other people's recurrent networks, from ONNX files through onnxruntime."""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit._checks import check_known
from dvskit._files import open_regular
from dvskit._threads import thread_count
from dvskit.errors import ConfigError, FormatError, ShapeError, one_line
from dvskit.events import Events, Size, as_size
from dvskit.reconstruction.network import EventWindow, VoxelInput

Arrays = dict[str, NDArray[np.float32]]

_FLOAT = "tensor(float)"
_MOST_BYTES = 4 << 30  # of the arrays between the layers of all networks
_QUIET = 4  # onnxruntime's level of its log for fatal errors, which are raised


@dataclass(frozen=True, slots=True)
class OnnxPreset:
    """A family of networks: its voxels, and the sizes of its states.

    voxels  how events become voxels
    levels  number of times that the network halves its picture. The states belong to the levels in
            order, the same number to each level; 0: all states have the size of the voxels
    """

    voxels: VoxelInput
    levels: int = 0

    def halvings(self, states: int) -> list[int]:
        """Return how often the sides of each state are halved, for a number of states."""
        each = -(-states // max(self.levels, 1))
        return [number // each + 1 if self.levels else 0 for number in range(states)]


# Rebecq et al. 2019 and Scheerlinck et al. 2020 normalize voxels; the networks that Stoffregen et
# al. 2020 trained again (E2VID+, FireNet+) do not.
PRESETS = {
    "e2vid": OnnxPreset(VoxelInput(normalized=True), levels=3),
    "firenet": OnnxPreset(VoxelInput(normalized=True)),
    "e2vid+": OnnxPreset(VoxelInput(), levels=3),
    "firenet+": OnnxPreset(VoxelInput()),
}


class OnnxReconstructor:
    """A recurrent image network in an ONNX file, such as an export of E2VID or FireNet.

    path        the file: float32 voxels (1, bins, H, W) and states in; an image (1, 1, H, W), 0
                black to 1 white, and the next states out. H and W may be free
    convention  "e2vid" or "firenet" (5 bins, normalized), "e2vid+" or "firenet+" (5 bins as they
                are); or a `VoxelInput`, for states of the size of the voxels
    states      the input of each state and the output that becomes it, {input: output}; {} for a
                network without states. None: the first input is the voxels, the first output is the
                image, and the other inputs and outputs are the states, in the same order
    limit_s     the most seconds that an image may take: loops in a file may have no end

    A window holds the events since the image before; states begin with zeros. Of E2VID, states with
    free sides are halved once, twice and three times. A sensor is padded with pixels without
    events, at the right and below, to the sides that the network needs; the image is cropped.
    Raises ConfigError without the package onnxruntime, and for a network with other inputs and
    outputs; FormatError for a file that is not ONNX.

        network = dvskit.reconstruction.ReconstructionNetwork(channels=(4,))
        model = dvskit.reconstruction.ReconstructionModel("net", network, network.build())
        dvskit.reconstruction.to_onnx(model, "net.onnx", size=(128, 128))  # or another's file
        method = dvskit.reconstruction.OnnxReconstructor("net.onnx", convention="e2vid+")
        method.states  # {"state0": "state0_next"}
        events = dvskit.load_events("events.raw")
        images = dvskit.reconstruction.reconstruct(events, method, [100_000, 200_000])
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        convention: str | VoxelInput = "e2vid",
        states: Mapping[str, str] | None = None,
        limit_s: float = 60.0,
    ) -> None:
        self.path = Path(path)
        self.limit_s = limit_s
        self._preset = _preset_of(convention)
        self.voxels = self._preset.voxels
        self._session, self._errors, self._run_options = _open(self.path)
        inputs = _ports_of(self._session.get_inputs(), self.path)
        outputs = _ports_of(self._session.get_outputs(), self.path)
        if states is None:
            states = _in_order(inputs, outputs, self.path)
        self.states = dict(states)
        _check_names(inputs, states.keys(), "input", self.path)
        _check_names(outputs, states.values(), "output", self.path)
        voxels, image = "input, the voxels (1, bins, H, W)", "output, the image (1, 1, H, W)"
        self._voxels = _only_other(inputs, states.keys(), voxels, self.path)
        self._check_voxels()
        self._image = _only_other(outputs, states.values(), image, self.path)
        self._rests = [port for port in inputs if port.name in states]
        self._outputs = [self._image.name, *(self.states[port.name] for port in self._rests)]

    def _check_voxels(self) -> None:
        port, bins = self._voxels, self.voxels.bins
        if port.shape[0] not in (1, None):
            raise ConfigError(f"{self.path}: {port} takes {port.shape[0]} windows at once, not 1")
        if port.shape[1] not in (bins, None):
            raise ConfigError(
                f"{self.path}: {port} has {port.shape[1]} channels, not {bins}, one for each bin; "
                "pass convention=VoxelInput(bins=...), or take a network of this convention"
            )

    def start(self, size: Size) -> _Pass:
        """Return one pass. Raises ConfigError if the network does not fit a sensor of `size`."""
        size = as_size(size)
        step = 1 << self._preset.levels
        sides = []
        for side, least, what in zip(
            self._voxels.shape[2:], size[::-1], ("height", "width"), strict=True
        ):
            if side is not None and side < least:
                raise ConfigError(
                    f"{self.path}: takes a {what} of {side} pixels, the sensor has {least}; crop "
                    "the events or export the network with free sides"
                )
            sides.append(-(-least // step) * step if side is None else side)
        return _Pass(self, size, (sides[0], sides[1]))

    def rest(self, sides: tuple[int, int]) -> Arrays:
        """Return the states before the first window, zeros; free last sides are halved."""
        found = {}
        for port, halvings in zip(
            self._rests, self._preset.halvings(len(self._rests)), strict=True
        ):
            last = len(port.shape) - 2
            free = {last + number: side >> halvings for number, side in enumerate(sides)}
            shape = [free.get(n, 1) if side is None else side for n, side in enumerate(port.shape)]
            found[port.name] = np.zeros(shape, np.float32)
        return found

    def run(
        self, voxels: NDArray[np.float32], states: Arrays
    ) -> tuple[NDArray[np.float32], Arrays]:
        """Return the image of voxels (bins, H, W), and the next states.

        Raises ShapeError if the network fails, ConfigError if it takes too long, or if its image or
        a state has another shape.
        """
        options = self._run_options()
        timer = threading.Timer(self.limit_s, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        given = {self._voxels.name: voxels[None], **states}
        try:
            image, *after = self._session.run(self._outputs, given, options)
        except self._errors as error:
            if options.terminate:
                raise ConfigError(
                    f"{self.path}: takes more than {self.limit_s:g} s for an image; pass a larger "
                    "limit_s, or another network"
                ) from error
            shapes = ", ".join(f"{name} {array.shape}" for name, array in given.items())
            raise ShapeError(
                f"{self.path}: fails with {shapes}: {one_line(error)[:200]}; pass the right "
                "convention, or export the network with fixed sides"
            ) from error
        finally:
            timer.cancel()
        wanted = [(1, 1, *voxels.shape[1:]), *(states[port.name].shape for port in self._rests)]
        for name, array, shape in zip(self._outputs, (image, *after), wanted, strict=True):
            if array.shape != shape:
                raise ConfigError(
                    f"{self.path}: its output {name!r} is {array.shape}, not {shape}; pass "
                    "states={input: output}, or another network"
                )
        return image[0, 0], {
            port.name: array for port, array in zip(self._rests, after, strict=True)
        }


class _Pass:
    """One pass; its memory is that of the states and of the events of a window."""

    def __init__(self, network: OnnxReconstructor, size: Size, sides: tuple[int, int]) -> None:
        self._network, self._size, self._sides = network, size, sides
        self._window = EventWindow(size)
        self._states = network.rest(sides)

    def add(self, events: Events) -> None:
        """Add events to the window."""
        self._window.add(events)

    def see(self, t_us: int, frame: NDArray[Any]) -> None:
        """Ignore a frame: the network uses events only."""

    def image(self, t_us: int) -> NDArray[np.float32]:
        """Run the network on the window; return its image."""
        (width, height), (rows, columns) = self._size, self._sides
        voxels = self._network.voxels(self._window.take())
        if (height, width) != (rows, columns):
            voxels = np.pad(voxels, ((0, 0), (0, rows - height), (0, columns - width)))
        whole, self._states = self._network.run(voxels, self._states)
        image = whole[:height, :width]
        if not np.isfinite(image).all():
            raise ShapeError(
                f"{self._network.path}: the image at {t_us} us holds values that are not finite; "
                "check the convention of its voxels"
            )
        return image


def _preset_of(convention: str | VoxelInput) -> OnnxPreset:
    """Return a preset by name, or for other voxels. Raises ConfigError for an unknown one."""
    if isinstance(convention, VoxelInput):
        return OnnxPreset(convention)
    name = convention.lower()
    check_known("convention", name, PRESETS)
    return PRESETS[name]


class _Port(NamedTuple):
    """An input or output: its name, and its shape with None for free dimensions."""

    name: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        shape = ", ".join("?" if each is None else str(each) for each in self.shape)
        return f"{self.name!r} ({shape})"


def _listed(ports: Iterable[_Port]) -> str:
    return ", ".join(map(str, ports)) or "none"


def _ports_of(given: Iterable[Any], path: Path) -> list[_Port]:
    """Return the inputs or outputs of a session. Raises ConfigError unless all are float32."""
    found = []
    for each in given:
        try:
            name, kind, sides = each.name, each.type, each.shape
        except UnicodeDecodeError as error:
            problem = "the name of an input or output is not UTF-8: it is damaged"
            raise ConfigError(f"{path}: {problem}") from error
        if kind != _FLOAT:
            raise ConfigError(f"{path}: {name!r} is {kind}; all inputs and outputs must be float32")
        found.append(_Port(name, tuple(s if isinstance(s, int) else None for s in sides)))
    return found


def _in_order(inputs: Sequence[_Port], outputs: Sequence[_Port], path: Path) -> dict[str, str]:
    """Return the states by their order, {input: output}. Raises ConfigError if that is unclear."""
    pairs = list(zip(inputs[1:], outputs[1:], strict=False))
    alike = len(inputs) == len(outputs) and all(
        len(before.shape) == len(after.shape)
        and all(None in (a, b) or a == b for a, b in zip(before.shape, after.shape, strict=True))
        for before, after in pairs
    )
    if not pairs or not alike:
        raise ConfigError(
            f"{path}: the order of the inputs {_listed(inputs)} and outputs {_listed(outputs)} "
            "gives no states; pass states={input: output}, or states={} for a network without"
        )
    return {before.name: after.name for before, after in pairs}


def _check_names(ports: Sequence[_Port], states: Iterable[str], kind: str, path: Path) -> None:
    """Raise ConfigError unless all states are inputs, or outputs."""
    names = {port.name for port in ports}
    for state in states:
        if state not in names:
            raise ConfigError(f"{path}: has no {kind} {state!r}; {kind}s: {_listed(ports)}")


def _only_other(ports: Sequence[_Port], states: Iterable[str], what: str, path: Path) -> _Port:
    """Return the only input or output that is not a state. Raises ConfigError."""
    found = [port for port in ports if port.name not in states]
    if len(found) != 1 or len(found[0].shape) != 4:
        raise ConfigError(
            f"{path}: besides the states there must be one {what}, not {_listed(found)}; pass "
            "states={input: output}"
        )
    return found[0]


@cache
def _limit_memory(onnxruntime: Any) -> None:
    """Give all networks of this process a memory with a limit: a file may ask for any amount."""
    kinds = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo("Cpu", *kinds), onnxruntime.OrtArenaCfg({"max_mem": _MOST_BYTES})
    )


def _open(path: Path) -> tuple[Any, tuple[type[Exception], ...], Callable[[], Any]]:
    """Open a file; return its session, the errors of onnxruntime, and what makes run options."""
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ConfigError(
            f"{path}: ONNX files need the package onnxruntime, which cannot be imported ({error}); "
            "pip install onnxruntime"
        ) from error
    try:
        open_regular(path).close()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    native: Any = onnxruntime.capi.onnxruntime_pybind11_state
    errors = tuple(
        each for each in (*vars(native).values(), UnicodeDecodeError)
        if inspect.isclass(each) and issubclass(each, Exception)
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.log_severity_level = _QUIET
    _limit_memory(onnxruntime)
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"],
            enable_fallback=False,  # to the same provider, with lines on standard output
        )  # fmt: skip
    except errors as error:
        raise FormatError(
            f"{path}: is no ONNX file that onnxruntime can run: {one_line(error)[:200]}"
        ) from error
    return session, errors, onnxruntime.RunOptions
