"""The checks that a bonus passes when its hold period is over."""

from datetime import datetime

from libs.postgres import Connection
from libs.refusals import Unavailable
from services.referral.model.bonuses import Bonus, Verdict


class CheckerUnavailable(Unavailable):
    """The checks could not be made: the bonus stays pending."""


async def check(connection: Connection, bonus: Bonus, *, now: datetime) -> Verdict:  # noqa: ARG001 - fails closed
    """Judges a bonus, in the transaction that holds its row locked; a flagged one gets its case for review here.

    Whatever is raised instead of a verdict keeps the bonus pending: nothing passes because it could not be checked.
    """
    raise CheckerUnavailable
