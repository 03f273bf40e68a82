"""Tensors of events on the command line: `dvskit convert events.raw counts.npy --bins 20`."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvskit._arguments import parse_us
from dvskit._files import check_output
from dvskit.cli import _console
from dvskit.cli._options import Microseconds, option
from dvskit.cli._shown import CountedEvents
from dvskit.errors import ConfigError, OutputError, ShapeError, one_line
from dvskit.events import Source

if TYPE_CHECKING:
    from dvskit.tensors import Representation


@dataclass(frozen=True, slots=True)
class _TensorOutput:
    """A tensor to write instead of events."""

    name: str
    representation: Representation

    def write(self, source: Source, start_us: int | None, out: Path, *, force: bool) -> str:
        """Write the tensor of a source; return the message. Raises ShapeError, OutputError."""
        from dvskit.tensors import save_tensor

        check_output(out, overwrite=force)
        with _console.progress(f"{out.name}", None, "events") as show:
            shown = CountedEvents(source, show=show)
            try:
                tensor = self.representation(shown, start_us=start_us)
            except ShapeError as error:
                hint = f" (--as {self.name}:outside=ignore)" if "outside=" in str(error) else ""
                raise ShapeError(f"{one_line(error)}{hint}") from error
        notes = {"representation": repr(self.representation), "sensor": str(source.size)}
        save_tensor(tensor, out, name=self.name, notes=notes, overwrite=force)
        shape = ", ".join(map(str, tensor.shape))
        dtype = str(tensor.dtype).removeprefix("torch.")
        return f"{out}: {self.name} ({shape}) {dtype} of {shown.words}"


@dataclass(frozen=True, slots=True)
class TensorOptions:
    """The tensor to write instead of events.

    bins  Write a tensor of this many time bins: event counts (bins, 2, height, width), OFF then ON,
          as .npy, .npz, .pt (for torch.load) or .safetensors.
    bin_  The length of a bin, such as 10ms; without --bins, as many bins as the recording needs.
    as_   The tensor: {representations}. Parameters follow, such as counts:dtype=uint8.
    """

    bins: int | None = option(shown=False)
    bin_: Microseconds | None = option(shown=False)
    as_: str | None = option(metavar="NAME[:KEY=VALUE,...]", shown="counts")

    def output(self, out: Path, to: str | None) -> _TensorOutput | None:
        """Return the requested tensor; None for events. Raises ConfigError."""
        if self == TensorOptions():
            return None
        from dvskit.tensors import representation_from
        from dvskit.tensors.representation import tensor_suffix

        if to is not None:
            raise ConfigError(
                "--to names an event format; for a tensor the suffix of the output sets the format"
            )
        try:
            tensor_suffix(out)
        except OutputError as error:
            raise ConfigError(one_line(error)) from error
        name, parameters = _parse(self.as_ or "counts")
        for key, value in (("bins", self.bins), ("bin_us", self.bin_)):
            if value is not None:
                if key in parameters:
                    raise ConfigError(
                        f"{key} is set by --as {self.as_} and by an option; give it once"
                    )
                parameters[key] = value
        return _TensorOutput(name, representation_from(name, **parameters))


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the parameters of NAME[:KEY=VALUE,...]. Raises ConfigError."""
    from dvskit.tensors.names import parameters_of

    name, _, rest = text.partition(":")
    known = parameters_of(name)
    parameters: dict[str, Any] = {}
    for word in rest.split(",") if rest else ():
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"--as {text!r} is not NAME[:KEY=VALUE,...]: see {word!r}")
        key = key.strip()
        bare, time_us = key.removesuffix("_us"), parse_us(value)
        if f"{bare}_us" not in known or (key in known and (key == bare or time_us is None)):
            parameters[key] = _literal(value.strip())
        elif key != bare or time_us is None:
            raise ConfigError(
                f"--as {name}:{word} is not a time with its unit; write "
                f"{bare}=3ms or {bare}_us=3000"
            )
        else:
            parameters[f"{bare}_us"] = round(time_us)
    return name, parameters


def _literal(text: str) -> Any:
    """Return a number, true or false if the text is one, else the text."""
    try:
        value = ast.literal_eval(text.title() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float) else text
