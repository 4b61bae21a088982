"""Decisions of score, without clock or I/O."""
