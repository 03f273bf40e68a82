"""Elementary functions that are written out, so that loops over them are done several at a time."""
