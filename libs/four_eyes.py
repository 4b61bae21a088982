"""Four eyes: whether two of them are one person's."""


def is_same_person(name: str, other: str) -> bool:
    """Nobody is somebody else by capitals, or by blanks around the name; the schemas' constraints say the same."""
    return name.strip().lower() == other.strip().lower()
