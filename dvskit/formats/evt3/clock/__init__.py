"""The clock of EVT 3.0: which of its words are to be believed."""
