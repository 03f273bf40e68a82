"""A package that extends dvskit by one part of each kind."""
