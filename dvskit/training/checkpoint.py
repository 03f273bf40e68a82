"""A run between two steps, as tensors and text: safetensors, never pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dvskit import _files
from dvskit.errors import ModelError, OutputError


@dataclass(slots=True)
class Checkpoint:
    """All that a run needs to go on.

    config   the resolved configuration, TOML; a checkpoint of another one is refused
    epoch    how many epochs are done        history  a row of scores for each
    step     how many steps of the epoch that goes on, and `total`, the sum of their losses
    weights  behind the last step kept       best     of the best epoch so far
    moments  of the optimiser, by parameter number and name
    """

    config: str
    epoch: int = 0
    step: int = 0
    total: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)

    def record(
        self,
        row: dict[str, float],
        weights: dict[str, Tensor],
        optimiser: torch.optim.Optimizer,
        keep: str = "best",
    ) -> None:
        """Note the end of an epoch; keep its weights if they are the best, or the last kept."""
        self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
        self.hold(weights, optimiser)
        if keep == "last" or not self.history or _merit(row) > max(map(_merit, self.history)):
            self.best = _copied(weights)
        self.history.append(row)

    def hold(self, weights: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
        """Keep the weights and the optimiser's moments as they are now."""
        self.weights = _copied(weights)
        self.moments = {
            f"{number}.{name}": value.detach().cpu().clone()
            for number, state in optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }

    def restore(self, optimiser: torch.optim.Optimizer) -> None:
        """Give the optimiser its moments back."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.moments.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        whole = optimiser.state_dict()
        whole["state"] = state
        optimiser.load_state_dict(whole)

    def kept_epoch(self, keep: str = "best") -> int:
        """Return the number of the epoch whose weights are kept, from 0."""
        if keep == "last":
            return len(self.history) - 1
        merits = list(map(_merit, self.history))
        return merits.index(max(merits))


def _merit(row: dict[str, float]) -> tuple[float, float]:
    return row.get("accuracy", 0.0), -row.get("validation_loss", 0.0)


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone().contiguous() for key, value in weights.items()}


def _of(groups: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    return dict(groups)


def save_checkpoint(path: Path, at: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all. Raises OutputError."""
    tensors = {
        f"{group}/{key}": value
        for group in ("weights", "best", "moments")
        for key, value in getattr(at, group).items()
    }
    numbers = {"epoch": at.epoch, "step": at.step, "total": at.total, "history": at.history}
    text = {"config": at.config, "numbers": json.dumps(numbers)}
    with _files.whole_file(path, overwrite=True) as partial:
        # save_file writes under a name of its own, which stays where the run is killed.
        partial.write_bytes(save(tensors, text))


def load_checkpoint(path: Path, config: str) -> Checkpoint | None:
    """Return the checkpoint at `path`; None if there is none.

    Raises ModelError if it is damaged, OutputError if it is of another configuration.
    """
    if not path.exists():
        return None
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "moments": {}}
    try:
        with safe_open(path, "pt") as file:
            text = file.metadata()
            for key in file.keys():  # noqa: SIM118 (no mapping)
                group, _, name = key.partition("/")
                groups[group][name] = file.get_tensor(key)
        at = Checkpoint(text["config"], **json.loads(text["numbers"]), **_of(groups))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is no checkpoint of dvskit: {error}; remove it") from error
    if at.config != config:
        raise OutputError(
            f"{path.parent}: holds a run of another configuration (its config.toml); "
            "name another output, or remove it"
        )
    return at
