"""The tables of score."""
