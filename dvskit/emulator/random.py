"""Random numbers that depend on what they are for, not on who drew before: no state, no order."""
