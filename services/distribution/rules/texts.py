MAX_ID = 128


def is_id(text: str) -> bool:
    """Whether a text may be an outside id."""
    return 0 < len(text) <= MAX_ID and text.isascii() and text.isprintable()


def is_label(text: str, longest: int) -> bool:
    """Whether a text may be shown, and is not too long."""
    return len(text) <= longest and text.isprintable()
