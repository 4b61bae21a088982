"""Every route there is. A route that is not declared here does not exist."""

from gateway.route import Route
from gateway.routes import boards, creators, development, operations, operators, pages, payouts, referrals, webhooks

PRODUCT: tuple[Route, ...] = (
    *referrals.ROUTES,
    *boards.ROUTES,
    *creators.ROUTES,
    *payouts.ROUTES,
    *operators.ROUTES,
    *webhooks.ROUTES,
    *operations.ROUTES,
    *pages.ROUTES,
)
TEST_MODE: tuple[Route, ...] = development.ROUTES


def routes(*, test_mode: bool) -> tuple[Route, ...]:
    """The routes of this process."""
    return PRODUCT + TEST_MODE if test_mode else PRODUCT
