"""`python -m services.score`."""

from pathlib import Path

from libs.service import App, run
from protos.score.v1 import admin_pb2_grpc, score_pb2_grpc
from services.score import servicer


async def wire(app: App) -> None:
    """Ties the doors of score to its database."""
    postgres = await app.open_postgres("score", Path(__file__).parent / "migrations")
    app.serve(
        score_pb2_grpc.add_ScoreServiceServicer_to_server,
        servicer.scores,
        "creator.score.v1.ScoreService",
        servicer.CALLERS,
    )
    app.serve(
        admin_pb2_grpc.add_ScoreAdminServiceServicer_to_server,
        servicer.admin,
        "creator.score.v1.ScoreAdminService",
        servicer.ADMIN_CALLERS,
    )
    app.relay(postgres)


if __name__ == "__main__":
    run("score", wire)
