from collections.abc import Callable

from services.distribution.model import Answer, Attribution, Charge

Outcome = Answer | Exception


class Ticket:
    """One charge on its way through the writer; plain and mutable, since one is made per charge of the hot path.

    `distribution_id` is given here and not by the database, so that after a commit whose end nobody saw the journal
    tells whether the row is ours. `followers` are later tickets of the same charge id that share its group.
    """

    __slots__ = (
        "attribution",
        "charge",
        "distribution_id",
        "fingerprint",
        "followers",
        "outcome",
        "settled",
        "since",
        "traceparent",
    )

    attribution: Attribution

    def __init__(
        self,
        charge: Charge,
        fingerprint: bytes,
        distribution_id: str,
        settled: Callable[["Ticket"], None],
        since: float,
        traceparent: str = "",
    ) -> None:
        self.charge = charge
        self.fingerprint = fingerprint
        self.distribution_id = distribution_id
        self.settled = settled
        self.since = since
        self.traceparent = traceparent
        self.followers: list[Ticket] | None = None
        self.outcome: Outcome | None = None

    def follow(self, ticket: "Ticket") -> None:
        """Let this one be written for both."""
        if self.followers is None:
            self.followers = []
        self.followers.append(ticket)

    def settle(self, outcome: Outcome) -> None:
        """End it: its caller is told, once, what came of the charge."""
        if self.outcome is None:
            self.outcome = outcome
            self.settled(self)
