"""Events as text, one per line: CSV in whole microseconds, and rpg's `events.txt` in seconds."""
