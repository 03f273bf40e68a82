"""`dvskit` and `python -m dvskit`: the command line."""

from __future__ import annotations

import sys

from dvskit import _interrupt


def main() -> None:
    """Run the command line; Ctrl-C ends it from here on, even while modules are loaded."""
    with _interrupt.interruptible():
        try:
            from dvskit.cli import main as run

            run()
        except KeyboardInterrupt:
            _interrupt.report()
            sys.exit(_interrupt.exit_code())


if __name__ == "__main__":
    main()
