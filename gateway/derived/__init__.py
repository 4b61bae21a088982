"""Routes, schemas and their words made from the protocol, so that nothing is written down twice."""
