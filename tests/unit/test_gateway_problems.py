from http import HTTPStatus

import pytest

from gateway import problems, refusals
from gateway.problems import Problem
from gateway.refusals import REASONS, TABLE, Refused
from gateway.schemas.problem import FieldProblem
from libs.refusals import Code


def test_every_grpc_code_has_a_row() -> None:
    assert set(TABLE) == set(Code)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.CANCELLED, 503), (Code.UNKNOWN, 500), (Code.INVALID_ARGUMENT, 400), (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404), (Code.ALREADY_EXISTS, 409), (Code.PERMISSION_DENIED, 403),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.FAILED_PRECONDITION, 409), (Code.ABORTED, 409), (Code.OUT_OF_RANGE, 400), (Code.UNIMPLEMENTED, 501),
        (Code.INTERNAL, 500), (Code.UNAVAILABLE, 503), (Code.DATA_LOSS, 500), (Code.UNAUTHENTICATED, 401),
    ],
)  # fmt: skip
def test_a_refusal_becomes_the_status_of_its_code(code: Code, status: int) -> None:
    assert Refused(code, "SOME_REASON", "Said so.").status == status


@pytest.mark.parametrize("code", [code for code in Code if TABLE[code].status >= 500 and code is not Code.UNAVAILABLE])
def test_a_fault_is_told_without_a_word_of_detail(code: Code) -> None:
    problem = Refused(code, "SECRET_REASON", "password=hunter2", errors=(FieldProblem(pointer="#/x", detail="y"),))
    assert (problem.reason, problem.detail, problem.errors) == (code.name, TABLE[code].detail, ())


def test_the_words_of_grpc_itself_are_not_passed_on() -> None:
    problem = Refused(Code.UNAVAILABLE, "", "failed to connect to 10.0.0.7:9001")
    assert (problem.reason, problem.detail) == ("UNAVAILABLE", TABLE[Code.UNAVAILABLE].detail)
    assert problem.headers["Retry-After"] == "1"


def test_a_full_service_is_not_the_clients_fault() -> None:
    assert Refused(Code.RESOURCE_EXHAUSTED).status == HTTPStatus.SERVICE_UNAVAILABLE


def test_a_service_that_does_not_know_the_gateway_is_not_the_clients_fault() -> None:
    assert Refused(Code.UNAUTHENTICATED).status == HTTPStatus.INTERNAL_SERVER_ERROR


def test_a_reused_request_id_is_unprocessable() -> None:
    assert Refused(Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED", "…").status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert set(REASONS) == {"REQUEST_ID_REUSED"}


def test_a_code_that_grpc_does_not_have_is_unknown() -> None:
    assert Refused(99).status == HTTPStatus.INTERNAL_SERVER_ERROR


@pytest.mark.parametrize("reason", sorted(refusals.OURS))
def test_what_the_gateway_did_wrong_is_no_fault_of_its_client(reason: str) -> None:
    problem = Refused(Code.PERMISSION_DENIED, reason, "This caller may not use this method.")
    assert (problem.status, problem.reason) == (HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL")


def own() -> list[type[Problem]]:
    return [
        kind
        for kind in vars(problems).values()
        if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem
    ]


@pytest.mark.parametrize("kind", own())
def test_every_problem_has_a_status_a_code_and_a_sentence(kind: type[Problem]) -> None:
    problem = kind()
    assert 400 <= problem.status < 600
    document = problem.document("id")
    assert document.code == kind.code
    assert document.type == "urn:creator-economy:problem:" + kind.code.lower().replace("_", "-")
    assert document.detail == problem.detail
    assert document.title[0].isupper()


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in own()]
    assert len(codes) == len(set(codes))
