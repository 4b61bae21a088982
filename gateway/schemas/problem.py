from typing import Annotated

from msgspec import Meta

from gateway.schemas.wire import Reply


class FieldProblem(Reply):
    """One thing that is wrong with the request."""

    pointer: Annotated[
        str,
        Meta(
            description="A JSON Pointer into the body as a URI fragment (`#/code`), `?name` for a query parameter, "
            "`{name}` for a name in the path, or a header's name."
        ),
    ]
    detail: str


class ProblemDocument(Reply):
    """RFC 9457."""

    type: Annotated[str, Meta(description="A URI that names the kind of problem.")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Annotated[str, Meta(pattern="^[A-Z][A-Z0-9_]+$", description="The kind of problem, for programs.")]
    errors: list[FieldProblem]
    request_id: str
