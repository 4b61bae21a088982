"""NOWPayments as its API is: one client, what may come of a call, and how its callbacks are signed."""
