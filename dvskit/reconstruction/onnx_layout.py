"""The inputs and outputs of an image network in ONNX: voxels, image and states, and their shapes.

An ONNX file names its tensors but not their meaning. States are found by name, then by shape, and
the sizes of free dimensions are found by running the network on zeros.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement, islice, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ConfigError

Arrays = dict[str, NDArray[np.float32]]
Run = Callable[[Arrays], Arrays | None]
"""Runs the network: outputs by name, or None if it fails."""

_FLOAT = "tensor(float)"
# Parts of names that tell the state before a step from the one after it.
_AFFIXES = {
    "new", "next", "prev", "previous", "last", "old", "in", "out", "input", "output", "updated",
    "n", "t", "tm1", "past", "present", "init", "before", "after",
}  # fmt: skip
_IMAGES = {"image", "img", "intensity", "prediction", "pred", "frame", "reconstruction", "output"}
_HALVINGS = 6  # the most of a state, or of the sides
PROBE = 1 << _HALVINGS  # pixels a side of a trial
_MOST_MIXED = 4  # kinds of states for which sizes that do not decrease are tried too
_MOST_TRIALS = 2000


class Port(NamedTuple):
    """An input or output: its name, and its shape with None for free dimensions."""

    name: str
    shape: tuple[int | None, ...]

    @property
    def words(self) -> str:
        """The name and shape for messages."""
        shape = ", ".join("?" if each is None else str(each) for each in self.shape)
        return f"{self.name!r} ({shape})"


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and outputs of a network by their meaning.

    states  pairs of an input and the output that becomes it in the next step
    """

    voxels: Port
    image: Port
    states: tuple[tuple[Port, Port], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes for a sensor: (height, width) of the voxels, and the shape of each state at rest."""

    sides: tuple[int, int]
    rest: dict[str, tuple[int, ...]]


def ports_of(given: Iterable[Any], name: str) -> list[Port]:
    """Return the inputs or outputs of a session. Raises ConfigError unless all are float32."""
    found = []
    for each in given:
        try:
            label, kind, sides = each.name, each.type, each.shape
        except UnicodeDecodeError as error:
            problem = "the name of an input or output is not UTF-8: it is damaged"
            raise ConfigError(f"{name}: {problem}") from error
        if kind != _FLOAT:
            raise ConfigError(
                f"{name}: {label!r} is {kind}; all inputs and outputs must be float32"
            )
        shape = tuple(side if isinstance(side, int) else None for side in sides)
        found.append(Port(label, shape))
    return found


def find_ports(
    inputs: Sequence[Port], outputs: Sequence[Port], bins: int, states: Mapping[str, str] | None,
    name: str,
) -> Ports:  # fmt: skip
    """Return the ports by meaning; `states` maps the input of each state to its output.

    Raises ConfigError if they cannot be distinguished.
    """
    pairs = _given_pairs(inputs, outputs, states, name)
    if states is None:
        pairs = _pairs_by_name(inputs, outputs)
    others = [each for each in inputs if each not in [before for before, _ in pairs]]
    free = [each for each in outputs if each not in [after for _, after in pairs]]
    voxels = _voxels(others, bins, name)
    others.remove(voxels)
    if states is None:
        pairs += _pairs_by_shape(others, free, name)
        others = [each for each in others if each not in [before for before, _ in pairs]]
        free = [each for each in free if each not in [after for _, after in pairs]]
    if others:
        raise ConfigError(
            f"{name}: no output becomes the input {others[0].words}; name it: states={{input: "
            f"output}} (outputs: {_listed(free)})"
        )
    if not pairs and states is None:
        raise ConfigError(
            f"{name}: no state found in inputs {_listed(inputs)} and outputs {_listed(outputs)}; "
            "export it with its states, or pass states={} for a network without"
        )
    order = [each.name for each in inputs]
    pairs.sort(key=lambda pair: order.index(pair[0].name))
    return Ports(voxels, _image(free, name), tuple(pairs))


def _given_pairs(
    inputs: Sequence[Port], outputs: Sequence[Port], states: Mapping[str, str] | None, name: str
) -> list[tuple[Port, Port]]:
    def port(ports: Sequence[Port], word: str, kind: str) -> Port:
        for each in ports:
            if each.name == word:
                return each
        raise ConfigError(f"{name}: has no {kind} {word!r}; {kind}s: {_listed(ports)}")

    return [
        (port(inputs, before, "input"), port(outputs, after, "output"))
        for before, after in (states or {}).items()
    ]


def _key(name: str) -> tuple[str, ...]:
    """Return the parts of a name that both sides of a state share."""
    parts = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return tuple(part for part in parts if part not in _AFFIXES)


def _pairs_by_name(inputs: Sequence[Port], outputs: Sequence[Port]) -> list[tuple[Port, Port]]:
    pairs = []
    for before in inputs:
        key = _key(before.name)
        twins = [each for each in inputs if _key(each.name) == key]
        found = [
            each for each in outputs if _key(each.name) == key and _fits(before.shape, each.shape)
        ]
        if key and len(found) == len(twins) == 1:
            pairs.append((before, found[0]))
    return pairs


def _fits(first: Sequence[int | None], second: Sequence[int | None]) -> bool:
    """Return whether two shapes can be the same: free dimensions fit any."""
    return len(first) == len(second) and all(
        one is None or other is None or one == other
        for one, other in zip(first, second, strict=True)
    )


def _pairs_by_shape(
    inputs: Sequence[Port], outputs: Sequence[Port], name: str
) -> list[tuple[Port, Port]]:
    pairs = []
    for before in inputs:
        found = [each for each in outputs if _fits(before.shape, each.shape)]
        twins = [each for each in inputs if _fits(before.shape, each.shape)]
        if len(twins) > 1 and found:
            raise ConfigError(
                f"{name}: several inputs have the same shape ({_listed(twins)}), and no names that "
                f"match the outputs {_listed(found)}; name them: states={{input: output}}"
            )
        if len(found) == 1:
            pairs.append((before, found[0]))
    return pairs


def _voxels(inputs: Sequence[Port], bins: int, name: str) -> Port:
    images = [each for each in inputs if len(each.shape) == 4]
    found = [each for each in images if each.shape[1] in (bins, None)]
    if len(found) == 1:
        port = found[0]
        if port.shape[0] not in (1, None):
            raise ConfigError(f"{name}: {port.words} takes {port.shape[0]} windows at once, not 1")
        return port
    if found:
        raise ConfigError(
            f"{name}: several inputs can be the voxels ({_listed(found)}); name the states: "
            "states={input: output}"
        )
    if images:
        raise ConfigError(
            f"{name}: no input has {bins} channels, one for each bin ({_listed(images)}); pass "
            "convention=VoxelInput(bins=...), or take a network of this convention"
        )
    raise ConfigError(f"{name}: no input is (1, {bins}, height, width); inputs: {_listed(inputs)}")


def _image(outputs: Sequence[Port], name: str) -> Port:
    found = [each for each in outputs if len(each.shape) == 4 and each.shape[1] in (1, None)]
    if len(found) > 1:
        found = [each for each in found if set(_key(each.name)) & _IMAGES] or found
    if len(found) == 1:
        return found[0]
    problem = "several outputs can be the image" if found else "no output is an image"
    raise ConfigError(f"{name}: {problem}, (1, 1, height, width); outputs: {_listed(outputs)}")


def _listed(ports: Sequence[Port]) -> str:
    return ", ".join(each.words for each in ports) or "none"


def find_layout(ports: Ports, bins: int, size: tuple[int, int], run: Run, name: str) -> Layout:
    """Return the sizes for a sensor of `size` (width, height), found by runs on zeros.

    Sides that the network fixes are kept; free ones become multiples of the smallest power of two
    with which the image is as large as the voxels. Raises ConfigError if there are none.
    """
    fixed = ports.voxels.shape[2:]
    for side, least, what in zip(fixed, (size[1], size[0]), ("height", "width"), strict=True):
        if side is not None and side < least:
            raise ConfigError(
                f"{name}: takes a {what} of {side} pixels, the sensor has {least}; crop the events "
                "or export the network with free sides"
            )
    probe = _sides(fixed, (PROBE, PROBE), 1)
    for halvings in _trials(ports):
        if _works(ports, bins, _layout(ports, probe, halvings), run):
            break
    else:
        raise ConfigError(
            f"{name}: does not run on voxels (1, {bins}, {probe[0]}, {probe[1]}) with an image of "
            "that size and states that keep their shapes; outputs: "
            f"{_listed([ports.image, *(after for _, after in ports.states)])}"
        )
    for step in (1 << power for power in range(_HALVINGS + 1)):
        # A side that has the same remainder, so that the trial is small.
        small = _sides(fixed, (PROBE + size[1] % PROBE, PROBE + size[0] % PROBE), step)
        if _works(ports, bins, _layout(ports, small, halvings), run):
            return _layout(ports, _sides(fixed, (size[1], size[0]), step), halvings)
    raise ConfigError(f"{name}: gives no image of the size of its voxels for a sensor of {size}")


def _trials(ports: Ports) -> Iterator[dict[str, int]]:
    """Yield how often each state with free sides may be halved, likely ones first."""
    free = [before for before, _ in ports.states if None in before.shape]
    # States of one shape are usually of one size, and later states smaller.
    for kind_of in ([each.shape for each in free], [each.name for each in free]):
        kinds: list[Any] = list(dict.fromkeys(kind_of))
        several: Iterable[tuple[int, ...]] = combinations_with_replacement(
            range(_HALVINGS), len(kinds)
        )
        if len(kinds) <= _MOST_MIXED:
            several = chain(several, product(range(_HALVINGS), repeat=len(kinds)))
        for tried in islice(several, _MOST_TRIALS):
            yield {
                each.name: tried[kinds.index(kind)]
                for each, kind in zip(free, kind_of, strict=True)
            }


def _at_rest(port: Port, sides: Sequence[int], halvings: int) -> tuple[int, ...]:
    """Return the shape of a state: free last sides are halved, other free dimensions are 1."""
    rows = len(port.shape) - 2
    halved = {rows + k: -(-side >> halvings) for k, side in enumerate(sides)}
    return tuple(
        halved.get(number, 1) if each is None else each for number, each in enumerate(port.shape)
    )


def _sides(fixed: Sequence[int | None], sides: tuple[int, int], step: int) -> tuple[int, int]:
    rows, columns = (
        -(-free // step) * step if given is None else given
        for given, free in zip(fixed, sides, strict=True)
    )
    return rows, columns


def _layout(ports: Ports, sides: tuple[int, int], halvings: Mapping[str, int]) -> Layout:
    rest = {
        before.name: _at_rest(before, sides, halvings.get(before.name, 0))
        for before, _ in ports.states
    }
    return Layout(sides, rest)


def _works(ports: Ports, bins: int, layout: Layout, run: Run) -> bool:
    given = {name: np.zeros(shape, np.float32) for name, shape in layout.rest.items()}
    given[ports.voxels.name] = np.zeros((1, bins, *layout.sides), np.float32)
    found = run(given)
    return (
        found is not None
        and found[ports.image.name].shape == (1, 1, *layout.sides)
        and all(
            found[after.name].shape == given[before.name].shape for before, after in ports.states
        )
    )
