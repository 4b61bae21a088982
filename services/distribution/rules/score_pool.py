"""How much of a period's foundation revenue goes to the score pool."""

from libs.money import BPS
from libs.refusals import FailedPrecondition, InvalidArgument

MAX_PAGE = 200
PAGE = 50

_DIGITS_MAX = 18


class PeriodOverlaps(FailedPrecondition):
    """Days of this period were funded with another one."""


class FundingPageInvalid(InvalidArgument):
    """A page has 1 to 200 fundings, and its token is one that an answer gave."""


def funding(net_foundation_micro: int, funding_bps: int, foundation_micro: int) -> int:
    """Return what goes to the pool: the part of what is net, rounded down, and never more than the foundation holds."""
    part_micro = max(net_foundation_micro, 0) * funding_bps // BPS
    return min(part_micro, max(foundation_micro, 0))


def check_page(size: int, token: str) -> tuple[int, int | None]:
    """Return the size of a page of fundings, and the number that it goes on below."""
    if not 0 <= size <= MAX_PAGE:
        raise FundingPageInvalid(field="page_size", limit=MAX_PAGE)
    if token and not (token.isascii() and token.isdecimal() and len(token) <= _DIGITS_MAX):
        raise FundingPageInvalid(field="page_token")
    return size or PAGE, int(token) if token else None
