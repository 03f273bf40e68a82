"""Pictures to compare with, made by `python -m tests.references.make`."""
