"""Neurons by name, as in layer lists and configurations: "lif beta=0.9"."""

from __future__ import annotations

import inspect
import re
from typing import Any

from torch import nn

from dvskit.errors import ConfigError
from dvskit.neurons.burst import BurstLIF
from dvskit.neurons.lif import ALIF, IF, LI, LIF, PLIF, SignedLIF, SynapticLIF
from dvskit.neurons.recurrent import RecurrentLIF
from dvskit.registry import Registry

NEURONS: Registry[type[nn.Module]] = Registry(
    "neuron",
    {
        "if": IF,
        "lif": LIF,
        "signed-lif": SignedLIF,
        "alif": ALIF,
        "burst-lif": BurstLIF,
        "plif": PLIF,
        "synaptic-lif": SynapticLIF,
        "recurrent-lif": RecurrentLIF,
        "li": LI,
    },
)
OF_NETWORKS = ("beta", "threshold")
"""Parameters with the default of the network, if a class names them itself."""

# Words of other layers in `dvskit.networks.layered`, which stands below this part.
_OTHER_LAYERS = re.compile(
    r"[A-Z][\d.]+([a-z]\d+)*|relu|log|bn|tdbn|ln|membrane|mean|last|max|count|first|each"
)
_MISSING = inspect.Parameter.empty


def register_neuron(name: str, kind: type[nn.Module]) -> None:
    """Add neurons of your own for layer lists and for `neurons` of networks.

        class Quadratic(dvskit.neurons.CustomNeurons):
            def __init__(self, tau=10.0, **others):
                super().__init__({}, {"tau": tau}, **others)

            def integrate(self, current, v):
                return {"v": v + v * (v - 0.5) / self.tau + current}

        dvskit.neurons.register_neuron("quadratic", Quadratic)
        dvskit.networks.Layered(layers=("12C5", "quadratic tau=20", "10"))
        dvskit.networks.ConvLIF(neurons="quadratic")

    kind  a subclass of `CustomNeurons`, or another torch.nn.Module with run(x, state) that keeps
          the shape of x (T, B, ...): see `dvskit.layers.Stateful`

    Parameters with numbers, texts, booleans or None as defaults can be set in a layer list, also
    those that **others passes to a base class. `beta` and `threshold` default to those of the
    network if the class names them itself, and need no default. Layers are named after `name`:
    quadratic1. A model's file contains the name only, so register it before loading.

    Raises ConfigError for another kind, other parameters without a default, and a name that is
    taken or is the word of another layer.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and hasattr(kind, "run")):
        raise ConfigError(
            f"neuron {name!r}: {kind!r} is not a class with run(x, state); take a subclass of "
            "neurons.CustomNeurons, or of torch.nn.Module with that method"
        )
    if isinstance(name, str) and _OTHER_LAYERS.fullmatch(name):
        raise ConfigError(f"neuron {name!r}: this is the word of another layer; take another name")
    for each in inspect.signature(kind).parameters.values():
        collects = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        needed = each.default is _MISSING and not collects and each.name not in OF_NETWORKS
        if needed or (each.kind is each.POSITIONAL_ONLY and each.name in OF_NETWORKS):
            raise ConfigError(
                f"neuron {name!r}: {each.name} of {kind.__name__} has no default; give it one"
            )
    NEURONS.register(name, kind)


def options_of(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the parameters that a layer list can set, with their defaults.

    Those of base classes follow where a class passes **others on.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found = {**{each.name: each for each in parameters}, **found}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: each.default
        for name, each in found.items()
        if each.kind in by_name
        and (
            isinstance(each.default, bool | int | float | str | None)
            or (each.default is _MISSING and name in OF_NETWORKS)
        )
    }
