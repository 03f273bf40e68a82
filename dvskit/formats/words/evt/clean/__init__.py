"""The fast way through EVT words that turn out to be sound."""
