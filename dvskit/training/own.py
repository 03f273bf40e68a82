"""Your own modules and samples as a configuration and its sets, checked before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import nn

from dvskit._arguments import check_arguments
from dvskit.datasets import ImageSamples, Samples, SplitSamples
from dvskit.errors import ArgumentError, ConfigError, warn
from dvskit.events import Size
from dvskit.networks import NETWORKS, ModuleNetwork, Network, NetworkModule, is_own
from dvskit.networks.model_folder import weights_of
from dvskit.networks.network import check_memory, lacking_arguments
from dvskit.training.config import Config, DataConfig
from dvskit.training.distributed import World
from dvskit.training.input_config import InputConfig
from dvskit.training.models import Model
from dvskit.training.own_checks import (
    check_answer,
    check_restorable,
    check_same_again,
    check_trains,
)
from dvskit.training.sets import Parts, TrainingSet, checked_sets, parts_of
from dvskit.training.toml_config import load_config

GivenSamples = Samples | ImageSamples | SplitSamples[Samples] | SplitSamples[ImageSamples]
"""Samples, which a run splits, or samples split into its parts."""


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


def check_samples(call: str, samples: object) -> None:
    """Raise ArgumentError, with the call, for a path or anything else in place of samples."""
    if isinstance(samples, Samples | ImageSamples | SplitSamples):
        return
    is_path = isinstance(samples, str | PathLike)
    said = repr(str(samples)) if is_path else f"of type {type(samples).__name__}"
    fix = f"open_samples({said})" if is_path else "the samples themselves, as of open_samples(...)"
    raise ArgumentError(f"{call}: a module learns and is judged by samples, not {said}; pass {fix}")


def described(
    given: Network | nn.Module, samples: GivenSamples, taken: InputConfig | None
) -> Network:
    """Return a module as a network with the classes of samples and the size of the first.

    A registered class has its registered name.
    """
    if isinstance(given, ModuleNetwork):
        module = given.module
        plain = getattr(module, "__name__", type(module).__name__) == given.name
        return replace(given, name=_registered_name(module) or given.name) if plain else given
    if not isinstance(given, nn.Module):
        return given
    whole = samples.train if isinstance(samples, SplitSamples) else samples
    if not len(whole):
        raise ConfigError("no samples; give at least one")
    if isinstance(whole, ImageSamples):
        height, width = whole.image(0).shape
        size = Size(width, height)
    else:
        size = whole.events(0).size
    # Config reports an input of another type.
    channels = (taken if isinstance(taken, InputConfig) else InputConfig()).channels
    return ModuleNetwork(
        module=given,
        width=size.width,
        height=size.height,
        classes=len(whole.classes),
        inputs=channels,
        name=_registered_name(given),
    )


def _registered_name(module: Any) -> str:
    """Return the name under which a module's class or function is registered, or ""."""
    kind = type(module) if isinstance(module, nn.Module) else module
    return next((name for name in NETWORKS.registered() if NETWORKS[name] is kind), "")


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


@check_arguments
def model_of(
    module: nn.Module | Network, samples: Samples | ImageSamples, input: InputConfig | None = None
) -> Model:
    """Return a module as a model for some samples: to save, classify and evaluate.

    module   maps (T, B, ...) to logits (B, classes), in the order of the samples' classes; or a
             description, such as a `dvskit.networks.ModuleNetwork` with its arguments
    samples  set the classes; the first sets the size of the input
    input    how events become the module's input; default InputConfig()

    Raises ConfigError if the module does not fit the samples.

        module = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(2 * 34 * 34, 3))

        class Mean(torch.nn.Module):
            def forward(self, x):
                return module(x).mean(0)  # (T, B, 3) -> (B, 3)

        samples = dvskit.datasets.open_samples("digits")
        model = dvskit.training.model_of(Mean(), samples)
        dvskit.evaluation.classify(model, "digits/0/00001.bin")  # {"0": 0.33, ...}
    """
    given = input or InputConfig()
    network: Network
    weighted: nn.Module
    if isinstance(module, NetworkModule):
        network, weighted = module.network, module
    else:
        network = described(module, samples, given)
        weighted = network.build()
    check_answer(network, weighted, given)
    return Model(network.name, network, weighted, given, samples.classes)
