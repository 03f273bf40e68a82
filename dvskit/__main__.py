"""`dvskit` and `python -m dvskit`: the command line."""

from __future__ import annotations

from dvskit import _interrupt


def main() -> None:
    """Run the command line; Ctrl-C ends it from here on, even while modules are loaded."""
    with _interrupt.interruptible():
        from dvskit.cli import main as run

        run()


if __name__ == "__main__":
    main()
