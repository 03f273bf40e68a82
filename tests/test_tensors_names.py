"""Representations by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dvskit.tensors
from dvskit.cli._listed_names import ENCODER_WORDS, REPRESENTATION_WORDS
from dvskit.encoders.names import ENCODERS
from dvskit.errors import ConfigError
from dvskit.tensors import Counts, TimeSurface, representation_from
from dvskit.tensors.names import REPRESENTATIONS, parameters_of
from tests.test_tensors_out import REPRESENTATIONS as MADE


def test_each_representation_has_a_name() -> None:
    assert {type(each) for each in MADE} == set(REPRESENTATIONS.values())
    for kind in REPRESENTATIONS.values():
        assert getattr(dvskit.tensors, kind.__name__) is kind


@pytest.mark.parametrize("made", MADE, ids=repr)
def test_a_representation_is_made_anew_from_its_name_and_parameters(made: Any) -> None:
    name = next(name for name, kind in REPRESENTATIONS.items() if kind is type(made))
    parameters = {each: getattr(made, each) for each in parameters_of(name)}
    assert representation_from(name, **parameters) == made


def test_a_dtype_is_given_by_name_or_as_itself() -> None:
    named = representation_from("counts", bins=3, dtype="uint8")
    assert named == representation_from("counts", bins=3, dtype=torch.uint8)
    assert named == Counts(bins=3, dtype=torch.uint8)
    assert representation_from("time_surface", tau_us=5) == TimeSurface(tau_us=5)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("voxelgrid", {}, "did you mean 'voxel_grid'"),
        ("counts", {"bin": 3}, "counts has no parameter 'bin'; did you mean 'bins'"),
        ("counts", {"bins": 1, "dtype": "int8"}, "unknown dtype 'int8'"),
        ("counts", {}, "counts: neither bins nor bin_us"),
        ("time_surface", {}, "time_surface needs tau_us"),
        ("voxel_grid", {"bins": 0}, "voxel_grid: bins=0"),
    ],
)
def test_what_cannot_be_is_a_mistake_of_configuration(
    name: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        representation_from(name, **parameters)


def test_the_help_of_the_command_line_names_them_all() -> None:
    words = [word.partition(":")[0] for word in REPRESENTATION_WORDS]
    assert words == [name for name in REPRESENTATIONS if name not in REPRESENTATIONS.registered()]
    assert list(ENCODER_WORDS) == [name for name in ENCODERS if name not in ENCODERS.registered()]
