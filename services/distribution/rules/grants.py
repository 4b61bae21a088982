"""What may be granted, in one batch or staged, and what is refused."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.money import MAX_MICRO
from libs.refusals import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Refusal
from services.distribution.model.campaigns import (
    Campaign,
    Grant,
    GrantedLot,
    Reservation,
    ReservationState,
    StagedGrant,
    StagedGrantState,
    StagedLot,
    Wanted,
)
from services.distribution.rules.campaigns import (
    AccountCap,
    BudgetExhausted,
    ReservationMismatch,
    ReservationReleased,
    ReservationUnknown,
    is_wanted,
)
from services.distribution.rules.texts import is_id

MAX_GRANTS = 1000


class GrantsSizeInvalid(InvalidArgument):
    """A call has 1 to 1000 grants."""


class GrantIdInvalid(InvalidArgument):
    """A grant's id is 1 to 128 printable ASCII characters, and is named once."""


class GrantAccountInvalid(InvalidArgument):
    """A grant names its account by surrogate, a UUID."""


class GrantAmountOutOfRange(InvalidArgument):
    """A grant is 1 to 10^15 micro-dollars."""


class GrantReservationInvalid(InvalidArgument):
    """A reservation's id is at most 128 printable ASCII characters, and is named once; a staged grant has none."""


class GrantMismatch(AlreadyExists):
    """This grant was made before, with other content."""


class GrantAccountTwice(AlreadyExists):
    """The account has another grant in this staged one: it gets one."""


class ReservationUsed(AlreadyExists):
    """The reservation was used up by another grant."""


class StagedGrantIdInvalid(InvalidArgument):
    """A staged grant's id is 1 to 128 printable ASCII characters."""


class StagedGrantUnknown(NotFound):
    """No such staged grant."""


class StagedGrantMismatch(AlreadyExists):
    """This staged grant was opened, or committed, with other content."""


class StagedGrantCommitted(FailedPrecondition):
    """The staged grant was committed."""


class StagedGrantAbandoned(FailedPrecondition):
    """The staged grant was abandoned."""


class StagedOverReserved(FailedPrecondition):
    """The staged grants would sum to more than is reserved for them."""


class StagedIncomplete(FailedPrecondition):
    """The staged grants are not as many as they must be, or do not sum to what they must."""


class StagedTotalInvalid(InvalidArgument):
    """A commit is of at least one grant and one micro-dollar."""


def check_grants(grants: Sequence[Grant], *, staged: bool = False) -> list[Grant]:
    """Return grants with their surrogates in one spelling; raises the refusal of the first that is wrong."""
    if not 1 <= len(grants) <= MAX_GRANTS:
        raise GrantsSizeInvalid(field="grants", limit=MAX_GRANTS)
    named: set[str] = set()
    reserved: set[str] = set()
    return [_check_grant(grant, index, named, reserved, staged=staged) for index, grant in enumerate(grants)]


def _check_grant(grant: Grant, index: int, named: set[str], reserved: set[str], *, staged: bool) -> Grant:
    field = f"grants[{index}]"
    if not is_id(grant.grant_id) or grant.grant_id in named:
        raise GrantIdInvalid(field=f"{field}.grant_id")
    named.add(grant.grant_id)
    try:
        account_ref = str(UUID(grant.account_ref))
    except ValueError:
        raise named_by(grant, GrantAccountInvalid(field=f"{field}.account_ref")) from None
    if not 1 <= grant.amount_micro <= MAX_MICRO:
        raise named_by(grant, GrantAmountOutOfRange(field=f"{field}.amount_micro"))
    if not grant.reservation_id:
        return grant._replace(account_ref=account_ref)
    if staged or not is_id(grant.reservation_id) or grant.reservation_id in reserved:
        raise named_by(grant, GrantReservationInvalid(field=f"{field}.reservation_id"))
    reserved.add(grant.reservation_id)
    return grant._replace(account_ref=account_ref)


def named_by(grant: Grant, refusal: Refusal) -> Refusal:
    """Return the refusal, naming the grant that it is about."""
    return type(refusal)(**(refusal.data | {"grant_id": grant.grant_id}))


def check_same_grant(grant: Grant, earlier: GrantedLot, campaign_id: str) -> None:
    """Raise GrantMismatch where a grant of that id was another one."""
    if (earlier.account_ref, earlier.granted_micro, earlier.campaign_id) != (
        grant.account_ref,
        grant.amount_micro,
        campaign_id,
    ):
        raise named_by(grant, GrantMismatch())


def check_reservation(grant: Grant, reservation: Reservation | None, campaign_id: str) -> None:
    """Raise what keeps a grant from using up its reservation: it must be for this account, and of this amount."""
    if reservation is None or reservation.campaign_id != campaign_id:
        raise named_by(grant, ReservationUnknown(reservation_id=grant.reservation_id))
    if (reservation.account_ref, reservation.amount_micro) != (grant.account_ref, grant.amount_micro):
        raise named_by(grant, ReservationMismatch(reservation_id=grant.reservation_id))
    if reservation.state is ReservationState.RELEASED:
        raise named_by(grant, ReservationReleased(reservation_id=grant.reservation_id))
    if reservation.state is ReservationState.GRANTED:
        raise named_by(grant, ReservationUsed(reservation_id=grant.reservation_id))


def check_free_budget(grants: Sequence[Grant], available_micro: int) -> int:
    """Return what grants without a reservation take from the free budget; BudgetExhausted names the first too many."""
    wanted_micro = 0
    for grant in grants:
        if grant.reservation_id:
            continue
        wanted_micro += grant.amount_micro
        if wanted_micro > available_micro:
            raise named_by(grant, BudgetExhausted(available_micro=available_micro))
    return wanted_micro


def take_caps(campaign: Campaign, grants: Sequence[Grant], taken_micro: Mapping[str, int]) -> dict[str, int]:
    """Return what each account takes of its cap beyond reservations; AccountCap names the first grant too many."""
    takes: dict[str, int] = {}
    for grant in grants:
        if grant.reservation_id:
            continue
        takes[grant.account_ref] = takes.get(grant.account_ref, 0) + grant.amount_micro
        if taken_micro.get(grant.account_ref, 0) + takes[grant.account_ref] > campaign.account_cap_micro:
            raise named_by(grant, AccountCap(cap_micro=campaign.account_cap_micro))
    return takes


def check_staged_grant_id(staged_grant_id: str) -> str:
    """Return a staged grant's id."""
    if not is_id(staged_grant_id):
        raise StagedGrantIdInvalid(field="staged_grant_id")
    return staged_grant_id


def check_same_opening(
    earlier: StagedGrant, campaign: Campaign, wanted: Wanted, wanted_micro: int, *, accept_less: bool
) -> None:
    """Raise StagedGrantMismatch where what is asked now is another staged grant of the same id."""
    if (earlier.wanted_micro, earlier.accept_less) != (wanted_micro, accept_less) or not is_wanted(campaign, wanted):
        raise StagedGrantMismatch(field="staged_grant_id")


def reserve_up_to(available_micro: int, wanted_micro: int, *, accept_less: bool) -> int:
    """Return how much to reserve of what is available, read under its lock. Raises BudgetExhausted."""
    if available_micro < wanted_micro and (available_micro < 1 or not accept_less):
        raise BudgetExhausted(available_micro=available_micro, wanted_micro=wanted_micro)
    return min(available_micro, wanted_micro)


def check_open(staged: StagedGrant) -> None:
    """Raise StagedGrantCommitted or StagedGrantAbandoned unless grants may be added."""
    if staged.state is StagedGrantState.COMMITTED:
        raise StagedGrantCommitted
    if staged.state is StagedGrantState.ABANDONED:
        raise StagedGrantAbandoned


def check_staged(wanted: Sequence[StagedLot], staged: Sequence[StagedLot]) -> None:
    """Raise GrantMismatch or GrantAccountTwice unless each of the wanted is among the staged as it is."""
    by_grant = {lot.grant_id: lot for lot in staged}
    for lot in wanted:
        earlier = by_grant.get(lot.grant_id)
        if earlier is None:
            raise GrantAccountTwice(grant_id=lot.grant_id)
        if (earlier.account_id, earlier.amount_micro) != (lot.account_id, lot.amount_micro):
            raise GrantMismatch(grant_id=lot.grant_id)


def check_room(staged: StagedGrant, added: Sequence[StagedLot]) -> int:
    """Return what was added; raises StagedOverReserved where there is no room for it."""
    added_micro = sum(lot.amount_micro for lot in added)
    if staged.staged_micro + added_micro > staged.reserved_micro:
        raise StagedOverReserved(reserved_micro=staged.reserved_micro, staged_micro=staged.staged_micro)
    return added_micro


def check_total(count: int, total_micro: int) -> None:
    """Raise StagedTotalInvalid for a commit of nothing."""
    if count < 1 or not 1 <= total_micro <= MAX_MICRO:
        raise StagedTotalInvalid(field="count" if count < 1 else "total_micro")


def check_same_commit(staged: StagedGrant, count: int, total_micro: int) -> None:
    """Raise StagedGrantMismatch where it was committed with another count or sum."""
    if (staged.staged_count, staged.staged_micro) != (count, total_micro):
        raise StagedGrantMismatch(field="staged_grant_id")


def check_complete(staged_count: int, staged_micro: int, count: int, total_micro: int) -> None:
    """Raise StagedIncomplete unless the rows are as many, and sum to as much, as their owner says."""
    if (staged_count, staged_micro) != (count, total_micro):
        raise StagedIncomplete(staged_count=staged_count, staged_micro=staged_micro)
