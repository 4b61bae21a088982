"""Every route there is. A route that is not declared here does not exist."""

from gateway.route import Route
from gateway.routes import (
    boards,
    creators,
    development,
    earnings,
    operations,
    operators,
    pages,
    payouts,
    referrals,
    score,
    wallets,
    webhooks,
)

PRODUCT: tuple[Route, ...] = (
    *referrals.ROUTES,
    *boards.ROUTES,
    *creators.ROUTES,
    *earnings.ROUTES,
    *payouts.ROUTES,
    *wallets.ROUTES,
    *score.ROUTES,
    *operators.ROUTES,
    *webhooks.ROUTES,
    *operations.ROUTES,
    *pages.ROUTES,
)
TEST_MODE: tuple[Route, ...] = development.ROUTES


def routes(*, test_mode: bool) -> tuple[Route, ...]:
    """The routes of this process."""
    return PRODUCT + TEST_MODE if test_mode else PRODUCT
