"""Your own modules and samples as a configuration and its sets, checked before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import nn

from dvskit.datasets import ImageSamples, SplitSamples
from dvskit.errors import ConfigError, warn
from dvskit.models.entries import DataConfig, Parts, parts_of
from dvskit.models.own_networks import (
    GivenSamples,
    check_answer,
    check_restorable,
    check_same_again,
    check_samples,
    check_trains,
    described,
)
from dvskit.networks import NETWORKS, ModuleNetwork, Network, is_own
from dvskit.networks.model_folder import weights_of
from dvskit.networks.network import check_memory, lacking_arguments
from dvskit.training.config import Config, load_config
from dvskit.training.distributed import World
from dvskit.training.sets import TrainingSet, checked_sets


def task_of(
    given: Config | str | PathLike[str] | Network | nn.Module,
    samples: GivenSamples | None,
    fields: Mapping[str, Any],
) -> tuple[Config, tuple[TrainingSet, ...] | None]:
    """Return the configuration of a run, and its sets if samples are passed.

    Arguments are those of `train`. Raises ConfigError for arguments that do not fit together.
    """
    if samples is not None:
        check_samples("train", samples)
    if isinstance(given, Config | str | PathLike):
        config = given if isinstance(given, Config) else load_config(given)
        config = replace(config, **fields) if fields else config
        return (config, None) if samples is None else _with_samples(config, samples)
    if isinstance(given, type):
        raise ConfigError(f"{given.__name__} is a class; pass an instance, {given.__name__}(...)")
    if samples is None and isinstance(given, nn.Module):
        raise ConfigError(
            f"train: {type(given).__name__} has no samples to learn from; pass train(module, "
            "samples), for example with open_samples(folder)"
        )
    network = given if samples is None else described(given, samples, fields.get("input"))
    named = {"network": network, "name": network.name, "output": f"runs/{network.name}"}
    config = Config(**{**named, **fields})
    return (config, None) if samples is None else _with_samples(config, samples)


def _with_samples(config: Config, samples: GivenSamples) -> tuple[Config, tuple[TrainingSet, ...]]:
    parts: Parts
    split = isinstance(samples, SplitSamples)
    are_images = isinstance(
        samples.train if isinstance(samples, SplitSamples) else samples, ImageSamples
    )
    if len(config.data) > 1:
        raise ConfigError("samples are one set, but the configuration has more; leave out data")
    kind = "images" if are_images else "recordings"
    entry = config.data[0] if config.data else DataConfig(kind=kind, name="samples")
    if entry.path or entry.kind != kind:
        raise ConfigError(
            f"data: of kind {entry.kind!r} with path {entry.path!r}, but the samples are passed: "
            f"use DataConfig(kind={kind!r}, name='samples', ...) without a path"
        )
    parts = samples if split else parts_of(samples, entry, config.seed)  # type: ignore
    config = replace(config, data=(entry,))
    return config, checked_sets((TrainingSet(entry, parts),), config)


def built(config: Config, device: torch.device, world: World) -> nn.Module:
    """Return the module of a run on a device, with the same weights in all processes.

    Raises ConfigError for a network too large for memory. A network of the caller's own also
    raises it for a wrong answer, or if it could not be loaded again.
    """
    network = config.network
    if not is_own(network):
        check_memory(network)
        return network.build().to(device)
    module = network.build().to(device)
    check_answer(network, module, config.input)
    check_restorable(network, module)
    check_same_again(network, module, config.input)
    check_trains(network, module, config.input)
    if world.is_main and isinstance(network, ModuleNetwork):
        _warn_of_loading(network, module)
    if world.size > 1:  # the caller may have drawn other weights in each process
        module.load_state_dict(world.from_main(weights_of(module)))
    return module


def _warn_of_loading(network: ModuleNetwork, module: nn.Module) -> None:
    """Warn if the class of a module needs arguments that the model's file does not hold."""
    kind = NETWORKS.get(network.name, type(module))
    if network.module is module and (
        lacks := lacking_arguments(network.name, kind, network.arguments)
    ):
        warn(f"load_model cannot make network {network.name!r} alone: {lacks}", UserWarning)
