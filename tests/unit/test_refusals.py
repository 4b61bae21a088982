import grpc
import pytest

from libs import refusals
from libs.refusals import Code, FailedPrecondition, InvalidArgument, NotFound, Refusal


class MoonNotFull(FailedPrecondition):
    """The moon is not full.

    It is full once a month.
    """


class HTTPMoonIsBlue(NotFound):
    """Blue."""


def test_a_refusal_is_named_by_its_class_and_told_by_its_docstring() -> None:
    refusal = MoonNotFull()
    assert (refusal.code, refusal.reason, refusal.message) == (
        Code.FAILED_PRECONDITION,
        "MOON_NOT_FULL",
        "The moon is not full.",
    )
    assert HTTPMoonIsBlue.reason == "HTTP_MOON_IS_BLUE"


def test_a_message_and_data_may_be_given() -> None:
    refusal = MoonNotFull("Come back on Friday.", days=3, phase="waxing", nothing=None)
    assert str(refusal) == refusal.message == "Come back on Friday."
    assert refusal.data == {"days": "3", "phase": "waxing"}


def test_a_reason_belongs_to_one_refusal_only() -> None:
    with pytest.raises(TypeError, match="MOON_NOT_FULL is the reason of"):

        class MoonNotFull(InvalidArgument):
            """Another."""


def test_every_reason_is_registered() -> None:
    assert refusals.reasons()["MOON_NOT_FULL"] is MoonNotFull


@pytest.mark.parametrize("kind", [Refusal, NotFound, InvalidArgument])
def test_a_kind_alone_is_no_reason(kind: type[Refusal]) -> None:
    with pytest.raises(TypeError, match="names the fact"):
        kind("no")


def test_a_refusal_needs_a_kind() -> None:
    with pytest.raises(TypeError, match="no kind"):

        class Nameless(Refusal):
            """Of no kind."""


def test_a_reason_has_a_form() -> None:
    with pytest.raises(TypeError, match="UPPER_SNAKE"):

        class Odd(NotFound):
            """Odd."""

            reason = "not upper"


def test_codes_are_the_numbers_of_google_rpc() -> None:
    assert {code.name: code.value for code in Code} == {
        code.name: code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK
    }
