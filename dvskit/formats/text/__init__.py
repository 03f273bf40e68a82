"""Events as text, one a line: CSV in whole microseconds, and rpg's `events.txt` in seconds."""
