"""What operators do and see, under /api/admin. Each area has a module and scopes of its own."""

from gateway.routes.operators import (
    accounts,
    books,
    campaigns,
    imports,
    payments,
    payouts,
    review,
    rules,
    score,
    treasury,
)

ROUTES = (
    *rules.ROUTES,
    *campaigns.ROUTES,
    *review.ROUTES,
    *accounts.ROUTES,
    *payouts.ROUTES,
    *treasury.ROUTES,
    *payments.ROUTES,
    *books.ROUTES,
    *score.ROUTES,
    *imports.ROUTES,
)
