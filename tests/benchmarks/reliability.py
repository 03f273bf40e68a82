"""The reliability campaign: what goes wrong when all does not go well.

    python -m tests.benchmarks.reliability kills       # kill -9 and Ctrl-C at random moments
    python -m tests.benchmarks.reliability places      # full disks, read-only folders, other inputs
    python -m tests.benchmarks.reliability mutations   # damaged files of every kind
    python -m tests.benchmarks.reliability requests    # hostile requests to the servers
    python -m tests.benchmarks.reliability live        # live decisions for hours

Each part has options, --help lists them, and prints a table. Its seed makes it repeatable.
"""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = ("kills", "places", "mutations", "requests", "live")


def main() -> None:
    """Run the named part with the words after it."""
    part, words = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if part not in PARTS:
        sys.exit(f"usage: reliability {{{','.join(PARTS)}}} [options]")
    import_module(f"tests.benchmarks.reliability_{part}").main(words)


if __name__ == "__main__":
    main()
