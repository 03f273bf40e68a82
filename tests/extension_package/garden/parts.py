"""The entry point: imports the modules that register a part, one for each kind."""

from garden import (  # noqa: F401
    encoders,
    filters,
    formats,
    networks,
    neurons,
    public_sets,
    representations,
)
