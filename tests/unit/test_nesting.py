"""What goes deep is refused before it is parsed: a parser of JSON may end the process instead of saying so."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.nesting import DEPTH_MAX, TooDeep, depth, shallow
from services.distribution.rules.flows import DocumentInvalid, read
from services.payout.provider.canonical import Unreadable, parse
from services.payout.provider.reading import complaint, exact
from services.payout.provider.trouble import Unknown

DEEP = b'{"a":' * 100_000
VALUES = st.recursive(
    st.integers() | st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def levels(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
def test_brackets_in_strings_are_not_counted(value: object) -> None:
    raw = json.dumps(value)
    assert depth(raw.encode()) == levels(value)
    assert json.loads(shallow(raw)) == value


def test_the_bound_is_the_last_that_passes() -> None:
    fits = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    assert shallow(fits) == fits.encode()
    with pytest.raises(TooDeep):
        shallow(f"[{fits}]")
    with pytest.raises(TooDeep):
        shallow("[" * (DEPTH_MAX + 1))


def test_wherever_it_comes_in_it_is_refused() -> None:
    with pytest.raises(Unknown):
        exact(DEEP)
    assert complaint(DEEP)[0] == ""
    with pytest.raises(Unreadable):
        parse(DEEP)
    with pytest.raises(DocumentInvalid):
        read(DEEP[:5_000].decode(), "document")
