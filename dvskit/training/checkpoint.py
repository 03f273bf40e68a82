"""The folder of a run: its checkpoint, its log, and the check that the same run continues.

Checkpoints hold the state as tensors and text: safetensors, never pickle. Configurations are
compared by value: 240000 and 240000.0 are equal.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dvskit import _files
from dvskit._tables import to_toml, toml_text
from dvskit._toml import parse_toml
from dvskit.errors import FormatError, ModelError, OutputError
from dvskit.models.learned import Used, read_split, split_from, split_text
from dvskit.training.config import Config, load_config, with_new_names

_GROUPS = ("weights", "best", "moments", "average")
_CHECKPOINT, _CONFIG, _SPLIT = "checkpoint.safetensors", "config.toml", "split.csv"


@dataclass(slots=True)
class Checkpoint:
    """The state of a run, to resume it.

    config   the resolved configuration, TOML; another configuration is refused
    epoch    number of completed epochs      history  a row of scores for each
    step     completed batches of the current epoch; `total` is the sum of their losses
    weights  after the last kept batch       best     of the best epoch so far
    moments  of the optimizer, by parameter number and name
    average  of the weights over the steps, for runs that keep one
    """

    config: str
    epoch: int = 0
    step: int = 0
    total: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)

    @property
    def has_begun(self) -> bool:
        """Whether a run was kept here, rather than one that begins."""
        return bool(self.weights)

    def hold(
        self,
        weights: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        average: Mapping[str, Tensor],
    ) -> None:
        """Copy the present weights, the optimizer's moments, and the average of the weights."""
        self.weights, self.average = _copied(weights), _copied(average)
        self.moments = {
            f"{number}.{name}": value.detach().cpu().clone()
            for number, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }

    def record(
        self, row: dict[str, float], weights: Mapping[str, Tensor], keep: str = "best"
    ) -> None:
        """Record the end of an epoch; keep its weights if they are the best, or the last kept."""
        self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
        if keep == "last" or not self.history or _merit(row) > max(map(_merit, self.history)):
            self.best = _copied(weights)
        self.history.append(row)

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Restore the optimizer's moments."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.moments.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        whole = optimizer.state_dict()
        whole["state"] = state
        optimizer.load_state_dict(whole)

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the best validation scores so far, from 0."""
        merits = list(map(_merit, self.history))
        return merits.index(max(merits))


def _merit(row: dict[str, float]) -> tuple[float, float]:
    return row.get("accuracy", 0.0), -row.get("validation_loss", 0.0)


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone().contiguous() for key, value in weights.items()}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder that a run writes.

    values  the tables of the run's configuration
    """

    path: Path
    values: Mapping[str, Any]

    def load(self) -> Checkpoint:
        """Return the run's checkpoint; a new one if there is none.

        Raises ModelError for a damaged checkpoint, OutputError if the folder holds a run with
        another configuration or could not be made.
        """
        at = load_checkpoint(self.path / _CHECKPOINT)
        if at is None:
            at = Checkpoint(to_toml(self.values))
        else:
            check_same_text(self.path, at.config, self.values)
        self.is_finished()
        check_place(self.path)
        return at

    def is_finished(self) -> bool:
        """Return whether the folder holds a finished model.

        Raises OutputError if the model has another configuration.
        """
        if not (self.path / "model.toml").is_file():
            return False
        if (self.path / _CONFIG).is_file():
            text = (self.path / _CONFIG).read_text("utf-8")
            check_same_text(self.path, text, self.values)
        return True

    def begin(self, used: Sequence[Used] = ()) -> None:
        """Make the folder, and write the files that identify the run when it is resumed.

        used  the run's samples in files. Raises OutputError
        """
        _files.make_folder(self.path)
        for unfinished in _files.unfinished(self.path):  # by a run that was killed
            _files.discard(*unfinished)
        if used:
            self._write(_SPLIT, split_text(used))
        self.write_config(self.values)

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Write the tables of the configuration to config.toml."""
        self._write(_CONFIG, to_toml(values))

    def save(self, at: Checkpoint) -> None:
        """Write a checkpoint."""
        tensors = {
            f"{group}/{key}": value
            for group in _GROUPS
            for key, value in getattr(at, group).items()
        }
        numbers = {"epoch": at.epoch, "step": at.step, "total": at.total, "history": at.history}
        text = {"config": at.config, "numbers": json.dumps(numbers)}
        # save_file uses a temporary name of its own, which would stay if the run is killed.
        self._write(_CHECKPOINT, save(tensors, text))

    def write_log(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the scores of the epochs as a table of comma-separated values."""
        write_table(self.path / "log.csv", history)

    def _write(self, name: str, data: bytes | str) -> None:
        """Write a file, whole or not at all. Raises OutputError."""
        _files.write_whole(self.path / name, data, overwrite=True)


def write_table(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Iterable[str] = ()
) -> None:
    """Write rows as a table of comma-separated values: `columns`, and all others of any row."""
    text = io.StringIO()
    names = dict.fromkeys((*columns, *(name for row in rows for name in row)))
    writer = csv.DictWriter(text, list(names))
    writer.writeheader()
    writer.writerows(rows)
    _files.write_whole(path, text.getvalue(), overwrite=True)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at `path`; None if there is none. Raises ModelError."""
    if not path.exists():
        return None
    groups: dict[str, Any] = {group: {} for group in _GROUPS}
    try:
        # safe_open calls Python from compiled code, which turns Ctrl-C into an error of the file.
        with _files.open_regular(path) as file:
            data = file.read()
        stop = 8 + int.from_bytes(data[:8], "little")  # of the header
        text = json.loads(data[8:stop])["__metadata__"]
        for key, value in load(data).items():
            group, _, name = key.partition("/")
            groups[group][name] = value
        return Checkpoint(text["config"], **json.loads(text["numbers"]), **groups)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is no checkpoint of dvskit: {error}; remove it") from error


def check_place(folder: Path) -> None:
    """Raise OutputError, before the work, if a folder cannot be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: cannot be made: {there} is no folder; name another output")
    if not os.access(there, os.W_OK):
        raise OutputError(f"{folder}: no permission to write; name another output")


_NAMED = 3  # differences named in a message
# The run may be moved to another folder, and may stop at another step.
_FREE = ("output", "loop.stop", "loop.processes")
_FIX = "name another output, or remove it"
_MISSING = object()


def check_same_text(folder: Path, before: str, now: Mapping[str, Any]) -> None:
    """Raise OutputError if the run in a folder has another configuration.

    before  the TOML text of that configuration. See `check_same_values`
    """
    try:
        values = with_new_names(parse_toml(before))
    except ValueError as error:
        raise OutputError(f"{folder}: its configuration is not TOML: {error}; {_FIX}") from error
    check_same_values(folder, values, now)


def check_same_values(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise OutputError if the tables of two configurations differ in a setting of the run.

    before  those of the run in `folder`. The message names keys that differ, with the value before
            and now
    """
    # Through TOML: it turns tuples into lists.
    was, is_ = (dict(_flat(tomllib.loads(to_toml(values)))) for values in (before, now))
    found = [
        f"{key} = {_shown(was.get(key, _MISSING))}, now {_shown(is_.get(key, _MISSING))}"
        for key in dict.fromkeys((*is_, *was))
        if key not in _FREE and was.get(key, _MISSING) != is_.get(key, _MISSING)
    ]
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise OutputError(
            f"{folder}: holds a run of another configuration: {'; '.join(found[:_NAMED])}{more}; "
            + _FIX
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif key == "data" and not prefix:
            for number, entry in enumerate(value):
                yield from _flat(entry, f"data.{entry.get('name') or number}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    return "missing" if value is _MISSING else toml_text(value)


def config_on_disk(folder: Path) -> Config | None:
    """Return the configuration of the run in a folder; None if there is no run.

    Raises OutputError for a file that is no configuration of this version.
    """
    file = folder / _CONFIG
    if not file.is_file():
        return None
    try:
        return load_config(file)
    except FormatError as error:
        raise OutputError(f"{file}: {error}; {_FIX}") from error


def check_same_samples(folder: Path, used: Sequence[Used]) -> None:
    """Raise OutputError if the run in a folder began with other samples.

    used  the present samples. The message names the first sample that is new, missing or changed.
    A folder without a list of samples passes.
    """
    before = read_split(folder / _SPLIT)
    now = split_from(split_text(used))
    if not before or before == now:
        return
    new, gone = Counter(map(_what, now)), Counter(map(_what, before))
    new, gone = new - gone, gone - new
    changed = {key[:-1] for key in new} & {key[:-1] for key in gone}
    found = [f"{_place(key)} has changed" for key in new if key[:-1] in changed]
    found += [f"{_place(key)} is new" for key in new if key[:-1] not in changed]
    found += [f"{_place(key)} is missing" for key in gone if key[:-1] not in changed]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    words = f"{found[0]}{more}" if found else "their order or their split differs"
    raise OutputError(f"{folder}: holds a run on other samples: {words}; {_FIX}")


def _what(row: Used) -> tuple[Any, ...]:
    return row.label, row.name, row.group, row.span, row.fingerprint


def _place(key: tuple[Any, ...]) -> str:
    return f"{key[0]}/{key[1]}"
