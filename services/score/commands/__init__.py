"""Commands of score: one transaction each."""
