"""Images by other people's recurrent networks, from ONNX files through onnxruntime."""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Mapping
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit._files import open_regular
from dvskit._threads import thread_count
from dvskit.errors import ConfigError, FormatError, ShapeError, did_you_mean, one_line
from dvskit.events import Events, Size, as_size
from dvskit.reconstruction.onnx_layout import (
    Arrays,
    Layout,
    Ports,
    find_layout,
    find_ports,
    ports_of,
)
from dvskit.reconstruction.voxels import EventWindow, VoxelInput

# Rebecq et al. 2019 and Scheerlinck et al. 2020 normalise voxels; the networks that Stoffregen et
# al. 2020 trained again (E2VID+, FireNet+) do not.
CONVENTIONS = {
    "e2vid": VoxelInput(normalised=True),
    "firenet": VoxelInput(normalised=True),
    "e2vid+": VoxelInput(),
    "firenet+": VoxelInput(),
}
_MOST_BYTES = 4 << 30  # of the arrays between the layers of all networks
_QUIET = 4  # onnxruntime's level of its log for fatal errors: failed trials are expected


class OnnxReconstructor:
    """A recurrent image network in an ONNX file, such as an export of E2VID or FireNet.

    path        the file: float32 voxels (1, bins, H, W) and states in; an image (1, 1, H, W), 0
                black to 1 white, and the next states out. H and W may be free
    convention  how events become voxels: "e2vid" and "firenet" (5 bins, normalised), "e2vid+" and
                "firenet+" (5 bins as they are), or a `VoxelInput`
    states      the input of each state and the output that becomes it, {input: output}; {} for a
                network without states. None: found by their names, then by their shapes
    limit_s     the most seconds that an image may take: loops in a file may have no end

    A window holds the events since the image before; states begin with zeros. A sensor is padded
    with pixels without events, at the right and below, to the sides that the network needs; the
    image is cropped. Raises ConfigError without the package onnxruntime, and for a network with
    other inputs and outputs or ones that cannot be distinguished; FormatError for a file that is
    not ONNX.

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
        self.voxels = convention_of(convention)
        self._session, self._errors, self._run_options = _open(self.path)
        name, bins = str(self.path), self.voxels.bins
        inputs = ports_of(self._session.get_inputs(), name)
        outputs = ports_of(self._session.get_outputs(), name)
        self.ports: Ports = find_ports(inputs, outputs, bins, states, name)
        self._outputs = [self.ports.image.name, *(after.name for _, after in self.ports.states)]
        self._layouts: dict[Size, Layout] = {}

    @property
    def states(self) -> dict[str, str]:
        """The input of each state and the output that becomes it."""
        return {before.name: after.name for before, after in self.ports.states}

    def start(self, size: Size) -> _Pass:
        """Return one pass. Raises ConfigError if the network does not fit a sensor of `size`."""
        size = as_size(size)
        if size not in self._layouts:
            self._layouts[size] = find_layout(
                self.ports, self.voxels.bins, size, self._tried, str(self.path)
            )
        return _Pass(self, size, self._layouts[size])

    def run(self, given: Arrays) -> Arrays:
        """Return the image and the next states by name. Raises ShapeError if the network fails."""
        options = self._run_options()
        timer = threading.Timer(self.limit_s, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            found = self._session.run(self._outputs, given, options)
        except self._errors as error:
            if options.terminate:
                raise ConfigError(
                    f"{self.path}: takes more than {self.limit_s:g} s for an image; pass a larger "
                    "limit_s, or another network"
                ) from error
            raise ShapeError(f"{self.path}: fails: {one_line(error)[:200]}") from error
        finally:
            timer.cancel()
        return dict(zip(self._outputs, found, strict=True))

    def _tried(self, given: Arrays) -> Arrays | None:
        try:
            return self.run(given)
        except ShapeError:
            return None


class _Pass:
    """One pass; its memory is that of the states and of the events of a window."""

    def __init__(self, network: OnnxReconstructor, size: Size, layout: Layout) -> None:
        self._network, self._size, self._sides = network, size, layout.sides
        self._window = EventWindow(size)
        self._states = {name: np.zeros(shape, np.float32) for name, shape in layout.rest.items()}

    def add(self, events: Events) -> None:
        """Add events to the window."""
        self._window.add(events)

    def see(self, t_us: int, frame: NDArray[Any]) -> None:
        """Ignore a frame: the network uses events only."""

    def image(self, t_us: int) -> NDArray[np.float32]:
        """Run the network on the window; return its image."""
        (width, height), (rows, columns) = self._size, self._sides
        network, ports = self._network, self._network.ports
        voxels = network.voxels(self._window.take())
        if (height, width) != (rows, columns):
            voxels = np.pad(voxels, ((0, 0), (0, rows - height), (0, columns - width)))
        found = network.run({ports.voxels.name: voxels[None], **self._states})
        self._states = {before.name: found[after.name] for before, after in ports.states}
        image: NDArray[np.float32] = found[ports.image.name][0, 0, :height, :width]
        if not np.isfinite(image).all():
            raise ShapeError(
                f"{network.path}: the image at {t_us} us holds values that are not finite; check "
                "the convention of its voxels"
            )
        return image


def convention_of(convention: str | VoxelInput) -> VoxelInput:
    """Return a convention by name. Raises ConfigError for an unknown one."""
    if isinstance(convention, VoxelInput):
        return convention
    found = CONVENTIONS.get(convention.lower())
    if found is None:
        raise ConfigError(
            f"unknown convention {convention!r}; {did_you_mean(convention, CONVENTIONS)}"
        )
    return found


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
