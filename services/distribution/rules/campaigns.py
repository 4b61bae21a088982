"""What may be asked of campaigns and their budgets, and what they say no to."""

from uuid import UUID

from libs.money import MAX_MICRO
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.distribution.model.campaigns import (
    Budget,
    Campaign,
    CampaignState,
    CampaignType,
    Order,
    Reservation,
    ReservationState,
    Wanted,
)
from services.distribution.rules import queries
from services.distribution.rules.refusals import ReasonInvalid
from services.distribution.rules.texts import is_id, is_label

MAX_NAME = 100
MAX_REASON = 1000
MAX_PAGE = 100
PAGE = 50


class CampaignIdInvalid(InvalidArgument):
    """A campaign id is a UUID."""


class CampaignNameInvalid(InvalidArgument):
    """A campaign's name is 1 to 100 printable characters."""


class CampaignTypeInvalid(InvalidArgument):
    """A campaign is of a known type."""


class CampaignStateInvalid(InvalidArgument):
    """A campaign is in a known state."""


class CampaignPageInvalid(InvalidArgument):
    """A page has 1 to 100 campaigns, and its token is one that an answer gave."""


class CapOutOfRange(InvalidArgument):
    """A cap per account is 0, for none, to 10^15 micro-dollars."""


class BudgetAmountOutOfRange(InvalidArgument):
    """An amount is 1 to 10^15 micro-dollars."""


class ReservationIdInvalid(InvalidArgument):
    """A reservation's id is 1 to 128 printable ASCII characters."""


class CampaignUnknown(NotFound):
    """No such campaign."""


class NoActiveCampaign(FailedPrecondition):
    """No campaign of this type is active."""


class CampaignNotActive(FailedPrecondition):
    """The campaign is not active: nothing is reserved or granted in it."""


class CampaignMoveRefused(FailedPrecondition):
    """A campaign in this state cannot do that."""


class OtherCampaignActive(FailedPrecondition):
    """Another campaign of this type is active: one at a time."""


class CampaignFundedByPool(FailedPrecondition):
    """A score campaign has no budget of its own: it is the score pool."""


class CampaignHasReservations(FailedPrecondition):
    """Budget is still reserved: grant it or release it first."""


class BudgetExhausted(FailedPrecondition):
    """The campaign's budget does not hold that much."""


class AccountCap(FailedPrecondition):
    """The account would pass what this campaign grants to one account."""


class ReservationUnknown(NotFound):
    """No such reservation."""


class ReservationMismatch(AlreadyExists):
    """This reservation was made with other content."""


class ReservationGranted(FailedPrecondition):
    """The reservation was granted: it cannot be released."""


class ReservationReleased(FailedPrecondition):
    """The reservation was released: it cannot be granted."""


_MOVES = {
    CampaignState.ACTIVE: (CampaignState.DRAFT, CampaignState.PAUSED),
    CampaignState.PAUSED: (CampaignState.ACTIVE,),
    CampaignState.COMPLETED: (CampaignState.ACTIVE, CampaignState.PAUSED),
}


def check_campaign_id(campaign_id: str) -> str:
    """Return a campaign id in its one spelling."""
    try:
        return str(UUID(campaign_id))
    except ValueError:
        raise CampaignIdInvalid(field="campaign_id") from None


def check_name(name: str) -> str:
    """Return a name that a campaign may have."""
    if not name.strip() or not is_label(name, MAX_NAME):
        raise CampaignNameInvalid(field="name")
    return name


def check_type(number: int) -> CampaignType:
    """Return the type that a number stands for."""
    try:
        return CampaignType(number)
    except ValueError:
        raise CampaignTypeInvalid(field="type") from None


def check_wanted(campaign_id: str, type_number: int) -> Wanted:
    """Return the campaign that is asked for; a type counts only where there is no id."""
    if campaign_id:
        return Wanted(check_campaign_id(campaign_id), None)
    return Wanted(None, check_type(type_number))


def check_cap(cap_micro: int) -> int:
    """Return a cap per account."""
    if not 0 <= cap_micro <= MAX_MICRO:
        raise CapOutOfRange(field="account_cap_micro")
    return cap_micro


def check_amount(amount_micro: int, field: str = "amount_micro") -> int:
    """Return an amount that may be moved."""
    if not 1 <= amount_micro <= MAX_MICRO:
        raise BudgetAmountOutOfRange(field=field)
    return amount_micro


def check_order(operator_id: str, reason: str) -> Order:
    """Return who wants it and why."""
    queries.check_name(operator_id, "operator_id")
    return Order(operator_id, check_reason(reason))


def check_reason(reason: str) -> str:
    """Return why something is done."""
    if not reason.strip() or not is_label(reason, MAX_REASON):
        raise ReasonInvalid(field="reason")
    return reason


def check_reservation_id(reservation_id: str) -> str:
    """Return a reservation's id."""
    if not is_id(reservation_id):
        raise ReservationIdInvalid(field="reservation_id")
    return reservation_id


def check_filter(type_number: int, state_number: int) -> tuple[CampaignType | None, CampaignState | None]:
    """Return which campaigns to list; zeros are for all."""
    try:
        state = CampaignState(state_number) if state_number else None
    except ValueError:
        raise CampaignStateInvalid(field="state") from None
    return check_type(type_number) if type_number else None, state


def check_page(size: int, token: str) -> tuple[int, str | None]:
    """Return the size of a page of campaigns, and the one that it goes on after."""
    if not 0 <= size <= MAX_PAGE:
        raise CampaignPageInvalid(field="page_size", limit=MAX_PAGE)
    try:
        return size or PAGE, str(UUID(token)) if token else None
    except ValueError:
        raise CampaignPageInvalid(field="page_token") from None


def move(campaign: Campaign, to: CampaignState) -> None:
    """Raise CampaignMoveRefused where that state cannot follow."""
    if campaign.state not in _MOVES[to]:
        raise CampaignMoveRefused(state=campaign.state.name)


def check_fundable(campaign: Campaign) -> None:
    """Raise what keeps a campaign from being given budget."""
    if campaign.type is CampaignType.SCORE_WEIGHTED:
        raise CampaignFundedByPool
    if campaign.state is CampaignState.COMPLETED:
        raise CampaignMoveRefused(state=campaign.state.name)


def check_active(campaign: Campaign) -> None:
    """Raise CampaignNotActive unless it reserves and grants."""
    if campaign.state is not CampaignState.ACTIVE:
        raise CampaignNotActive(state=campaign.state.name)


def check_budget(budget: Budget, wanted_micro: int) -> None:
    """Raise BudgetExhausted where the free budget, read under its lock, is less than wanted."""
    if budget.available_micro < wanted_micro:
        raise BudgetExhausted(available_micro=budget.available_micro, wanted_micro=wanted_micro)


def check_account_cap(campaign: Campaign, taken_micro: int, wanted_micro: int) -> None:
    """Raise AccountCap where an account that has taken so much wants too much more."""
    if campaign.account_cap_micro and taken_micro + wanted_micro > campaign.account_cap_micro:
        raise AccountCap(cap_micro=campaign.account_cap_micro, taken_micro=taken_micro)


def check_same_reservation(
    earlier: Reservation, campaign: Campaign, wanted: Wanted, account_ref: str, amount_micro: int
) -> None:
    """Raise ReservationMismatch where what is asked now is another reservation of the same id."""
    if (earlier.account_ref, earlier.amount_micro) != (account_ref, amount_micro) or not is_wanted(campaign, wanted):
        raise ReservationMismatch(field="reservation_id")


def is_wanted(campaign: Campaign, wanted: Wanted) -> bool:
    """Whether a campaign is the one that a repeated call may have meant."""
    if wanted.campaign_id:
        return campaign.campaign_id == wanted.campaign_id
    return campaign.type is wanted.type


def check_releasable(reservation: Reservation) -> None:
    """Raise ReservationGranted where it is too late to release it."""
    if reservation.state is ReservationState.GRANTED:
        raise ReservationGranted
