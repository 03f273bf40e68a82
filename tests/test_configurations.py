"""Configurations and models' files of the version before have the same values."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dvskit.events import Size
from dvskit.models.learned import data_from, data_values
from dvskit.models.model import emulation_values, read_model_table
from dvskit.networks import network_values
from dvskit.reconstruction import load_reconstruction_model
from dvskit.training import load_config, write_config
from dvskit.training.config import config_values
from dvskit.training.reconstruction import load_reconstruction_config

GOLDEN = json.loads((Path(__file__).parent / "references" / "configurations.json").read_text())
MODELS = Path(__file__).parents[1]


def values_of_model(file: Path) -> dict[str, Any]:
    table, about = read_model_table(file)
    network = table.network
    return {
        "name": table.name, "network": network_values(network), "input": table.input.values,
        "classes": table.classes, "about": about,
        "data": [data_values(data_from(entry)) for entry in table.data],
        "reject": asdict(table.reject),
        "emulation": emulation_values(
            table.emulation.for_size(Size(network.width, network.height))
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_files_of_the_version_before_have_the_same_values(name: str, tmp_path: Path) -> None:
    file = tmp_path / Path(name).name
    file.write_text(GOLDEN[name]["text"], encoding="utf-8")
    if name == "models/reconstruct/model.toml":
        model = load_reconstruction_model((MODELS / name).parent)
        found = {"name": model.name, "network": model.network.values, "about": model.about}
    elif file.name == "model.toml":
        found = values_of_model(file)
    elif "reconstruct" in name:
        found = load_reconstruction_config(file).values
    else:
        config = load_config(file)
        found = config_values(config)
        write_config(config, file)
        assert load_config(file) == config
    assert json.loads(json.dumps(found)) == GOLDEN[name]["values"]
