"""What a code may look like, and who may bind through one."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from libs.refusals import Refusal
from services.referral.model import (
    Code,
    CodeState,
    CodeWish,
    EndReason,
    Facts,
    Kind,
    Limits,
    Outcome,
    Registered,
    Registration,
    SignUp,
    Standing,
)
from services.referral.rules import accounts as account_rules
from services.referral.rules import codes as code_rules
from services.referral.rules import registration as registration_rules

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LIMITS = Limits()
REFEREE, REFERRER = uuid.uuid4(), uuid.uuid4()
CODE = Code(code_ref=uuid.uuid4(), code="abcdefgh12", owner_ref=REFERRER, created_at=NOW - timedelta(days=9))
ORGANIC = Registration(REFEREE, Kind.ORGANIC, NOW - timedelta(hours=1))


def facts(
    code: Code | None = CODE,
    binding: Registration | None = None,
    standing: Standing = Standing.GOOD,
    bindings_in_window: int = 0,
) -> Facts:
    return Facts(REFEREE, binding, code, standing, bindings_in_window)


def ended(state: CodeState, reason: EndReason) -> Code:
    return replace(CODE, state=state, ended_at=NOW, end_reason=reason)


def reason_of(given: Facts, account_created_at: datetime | None = NOW) -> str | None:
    try:
        registration_rules.check_registration(given, account_created_at, now=NOW, limits=LIMITS)
    except Refusal as refusal:
        return refusal.reason
    return None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (facts(), None),
        (facts(code=None), "CODE_UNKNOWN"),
        (facts(ended(CodeState.REVOKED, EndReason.OPERATOR)), "CODE_REVOKED"),
        (facts(ended(CodeState.REVOKED, EndReason.OWNER)), "CODE_REVOKED"),
        (facts(ended(CodeState.EXPIRED, EndReason.TIME)), "CODE_EXPIRED"),
        (facts(ended(CodeState.EXPIRED, EndReason.USES)), "CODE_EXHAUSTED"),
        (facts(standing=Standing.WARNED), None),
        (facts(standing=Standing.BONUSES_ON_HOLD), None),
        (facts(standing=Standing.SUSPENDED), "REFERRER_SUSPENDED"),
        (facts(standing=Standing.FORFEITED), "REFERRER_SUSPENDED"),
        (facts(replace(CODE, owner_ref=REFEREE)), "SELF_REFERRAL"),
        (facts(binding=ORGANIC), "LOCKED_ORGANIC"),
        (facts(bindings_in_window=9), None),
        (facts(bindings_in_window=10), "CODE_VELOCITY_EXCEEDED"),
    ],
)
def test_every_rule_of_registration_has_its_own_reason(given: Facts, reason: str | None) -> None:
    assert reason_of(given) == reason


def test_the_first_rule_that_is_broken_is_the_one_that_is_told() -> None:
    """One fault less at a time: the reasons come up in the order of the checks."""
    old = NOW - timedelta(days=2)
    own = replace(CODE, owner_ref=REFEREE)
    worst = Facts(REFEREE, ORGANIC, None, Standing.SUSPENDED, 10)
    ladder = [
        (worst, old),
        (replace(worst, code=replace(own, state=CodeState.EXPIRED, end_reason=EndReason.USES)), old),
        (replace(worst, code=own), old),
        (replace(worst, code=own, standing=Standing.GOOD), old),
        (replace(worst, code=CODE, standing=Standing.GOOD), old),
        (replace(worst, code=CODE, standing=Standing.GOOD, binding=None), old),
        (replace(worst, code=CODE, standing=Standing.GOOD, binding=None), NOW),
        (replace(worst, code=CODE, standing=Standing.GOOD, binding=None, bindings_in_window=0), NOW),
    ]
    assert [reason_of(given, created) for given, created in ladder] == [
        "CODE_UNKNOWN",
        "CODE_EXHAUSTED",
        "REFERRER_SUSPENDED",
        "SELF_REFERRAL",
        "LOCKED_ORGANIC",
        "ACCOUNT_TOO_OLD",
        "CODE_VELOCITY_EXCEEDED",
        None,
    ]


@pytest.mark.parametrize(
    ("created", "reason"),
    [
        (None, "ACCOUNT_AGE_UNKNOWN"),
        (NOW, None),
        (NOW - timedelta(hours=24), None),
        (NOW - timedelta(hours=24) - MICROSECOND, "ACCOUNT_TOO_OLD"),
        (NOW + timedelta(minutes=5), None),
        (NOW + timedelta(minutes=5) + MICROSECOND, "ACCOUNT_AGE_INVALID"),
    ],
)
def test_an_account_binds_within_24_hours_of_its_creation(created: datetime | None, reason: str | None) -> None:
    assert reason_of(facts(), created) == reason


def test_a_code_ends_at_the_instant_it_expires_whoever_notices_when() -> None:
    code = replace(CODE, expires_at=NOW)
    assert code_rules.ended_by_time(code, NOW - MICROSECOND) is code
    at_once = code_rules.ended_by_time(code, NOW)
    assert (at_once.state, at_once.ended_at, at_once.end_reason) == (CodeState.EXPIRED, NOW, EndReason.TIME)
    assert code_rules.ended_by_time(code, NOW + timedelta(days=1)) == at_once
    assert code_rules.ended_by_time(CODE, NOW + timedelta(days=9999)) is CODE


def test_the_last_use_ends_a_code() -> None:
    code = replace(CODE, max_uses=2)
    once = code_rules.used(code, NOW)
    assert (once.uses, once.state) == (1, CodeState.ACTIVE)
    twice = code_rules.used(once, NOW)
    assert (twice.uses, twice.state, twice.end_reason) == (2, CodeState.EXPIRED, EndReason.USES)
    assert code_rules.used(CODE, NOW).state is CodeState.ACTIVE


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("ABCdef1234", "abcdef1234"),
        ("  abcdef1234\n", "abcdef1234"),
        ("\N{KELVIN SIGN}elvin1234", "?elvin1234"),
        ("a\0b", "a?b"),
        ("x" * 1_000_000, "x" * 32),
        ("", ""),
    ],
)
def test_a_typed_code_is_made_fit_to_be_looked_up_and_logged(typed: str, read: str) -> None:
    assert code_rules.typed_code(typed) == read


@pytest.mark.parametrize("vanity", ["goodname", "GoodName", "12345678", "abcdefghijkl", "iloverouge"])
def test_a_vanity_code_is_8_to_12_letters_and_digits_in_lower_case(vanity: str) -> None:
    assert code_rules.check_wish(vanity, None, 0) == CodeWish(vanity=vanity.lower())


@pytest.mark.parametrize(
    "vanity",
    ["short12", "abcdefghijklm", "with-dash", "with space", "übercode", "a" * 10_000, "\N{KELVIN SIGN}elvin1234"],
)
def test_another_vanity_code_is_refused(vanity: str) -> None:
    with pytest.raises(code_rules.VanityCodeInvalid) as refused:
        code_rules.check_wish(vanity, None, 0)
    assert refused.value.data == {"field": "vanity_code"}


@pytest.mark.parametrize(
    "vanity", ["arrakis2026", "theadmin1", "supp0rt24", "OFFICIA1x", "1treasury", "adm1nteam", "nowpayments"]
)
def test_a_vanity_code_that_could_pass_for_the_platform_is_refused(vanity: str) -> None:
    with pytest.raises(code_rules.VanityCodeReserved):
        code_rules.check_wish(vanity, None, 0)


@pytest.mark.parametrize("max_uses", [-1, code_rules.MAX_USES + 1])
def test_a_limit_of_uses_out_of_bounds_is_refused(max_uses: int) -> None:
    with pytest.raises(code_rules.CodeMaxUsesInvalid):
        code_rules.check_wish("", None, max_uses)


def test_a_code_is_not_born_expired() -> None:
    code_rules.check_expiry(None, NOW)
    code_rules.check_expiry(NOW + MICROSECOND, NOW)
    with pytest.raises(code_rules.CodeExpiryInvalid):
        code_rules.check_expiry(NOW, NOW)


def test_asking_for_the_active_code_in_any_way_but_by_another_name_is_fine() -> None:
    code_rules.check_same_code(CODE, CodeWish())
    code_rules.check_same_code(CODE, CodeWish(vanity=CODE.code))
    with pytest.raises(code_rules.ActiveCodeExists):
        code_rules.check_same_code(CODE, CodeWish(vanity="somethingelse"))


def test_a_random_code_is_ten_characters_that_nobody_mistakes() -> None:
    drawn: list[str] = []

    def choose(alphabet: str) -> str:
        drawn.append(alphabet)
        return alphabet[len(drawn) - 1]

    assert code_rules.draw_code(choose) == "0123456789"
    assert set(drawn) == {"0123456789abcdefghjkmnpqrstuvwxyz"}


@pytest.mark.parametrize("account_id", ["a", "x" * 128, "user:1|@ ~!"])
def test_an_account_id_is_up_to_128_printable_ascii_characters(account_id: str) -> None:
    assert account_rules.check_account_id(account_id) == account_id


@pytest.mark.parametrize("account_id", ["", "x" * 129, "a\nb", "tab\t", "é", "\0", "trailing\n"])
def test_another_account_id_is_refused_and_its_place_is_named(account_id: str) -> None:
    with pytest.raises(account_rules.AccountIdInvalid) as refused:
        account_rules.check_account_ids(["fine", account_id])
    assert refused.value.data == {"field": "account_ids[1]"}


def test_repeated_ids_are_answered_once_in_the_order_asked() -> None:
    assert account_rules.check_account_ids(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


def test_more_than_500_accounts_are_refused() -> None:
    assert len(account_rules.check_account_ids([f"a{index}" for index in range(500)])) == 500
    with pytest.raises(account_rules.TooManyAccounts):
        account_rules.check_account_ids(["a"] * 501)


@pytest.mark.parametrize(
    ("channel", "tag"), [("", None), ("discord", "discord"), ("x_ads-2026", "x_ads-2026"), ("a" * 32, "a" * 32)]
)
def test_a_channel_is_a_short_tag_or_nothing(channel: str, tag: str | None) -> None:
    assert registration_rules.check_channel(channel) == tag


@pytest.mark.parametrize("channel", ["Discord", "a b", "a" * 33, "é", "a\n"])
def test_another_channel_is_refused(channel: str) -> None:
    with pytest.raises(registration_rules.ChannelInvalid):
        registration_rules.check_channel(channel)


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (Registered(already_bound=False, registered_at=NOW), Outcome.BOUND, None),
        (Registered(already_bound=True, registered_at=NOW), Outcome.ALREADY_BOUND, None),
        (code_rules.CodeExpired(), Outcome.REFUSED, "CODE_EXPIRED"),
    ],
)
def test_the_log_says_what_came_of_an_attempt_without_an_outside_id(
    answer: Registered | Refusal, outcome: Outcome, reason: str | None
) -> None:
    line = registration_rules.attempt(SignUp("person@example.org", " ABCDEFGH12", NOW, "x"), REFEREE, CODE, answer, NOW)
    assert (line.outcome, line.reason, line.code_typed, line.code_ref) == (outcome, reason, "abcdefgh12", CODE.code_ref)
    assert "person" not in repr(line)
