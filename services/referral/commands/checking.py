"""The checks that a bonus passes when its hold period is over."""

from datetime import datetime

from libs.postgres import Connection
from libs.refusals import Unavailable
from services.referral.commands import risk
from services.referral.model import Kind
from services.referral.model.bonuses import Bonus, Verdict
from services.referral.model.risk import Stage
from services.referral.rules import risk as rules
from services.referral.store import registrations, review, standings


class CheckerUnavailable(Unavailable):
    """The checks could not be made: the bonus stays pending."""


async def check(connection: Connection, bonus: Bonus, *, now: datetime) -> Verdict:
    """Judges a bonus, in the transaction that holds its row locked; a flagged one gets its case for review here.

    Whatever is raised instead of a verdict keeps the bonus pending: nothing passes because it could not be checked.
    """
    registration = await registrations.find(connection, bonus.referee_ref)
    if (
        registration is None
        or registration.kind is not Kind.REFERRED
        or registration.referrer_ref != bonus.referrer_ref
    ):
        raise CheckerUnavailable
    assessment = await risk.assess(connection, registration, Stage.HOLD, now)
    await risk.hold_against(connection, assessment, now)
    standing = (await standings.find(connection, bonus.referrer_ref)).standing
    subjects = await review.open_subjects(connection, bonus.referee_ref)
    objection = rules.objection(assessment, standing, subjects)
    if objection is None:
        return Verdict(flagged=False, risk_score=assessment.score.score)
    if not subjects:
        await risk.open_case(connection, assessment, now)
    return Verdict(flagged=True, risk_score=assessment.score.score, reason=objection)
