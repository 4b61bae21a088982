"""Scores and the runs that reward them; the boards' read models."""

from dataclasses import replace
from http import HTTPStatus

from gateway.derived.area import Area
from protos.leaderboard.v1 import leaderboard_pb2
from protos.score.v1 import admin_pb2

SCORE = Area(
    "score",
    "Operators: score",
    "score_admin",
    admin_pb2.DESCRIPTOR.services_by_name["ScoreAdminService"],
    {
        HTTPStatus.BAD_REQUEST: (
            "SCORE_ID_INVALID SCORE_ORDER_INVALID SCORE_PAGE_INVALID IMPORT_STATE_INVALID PERIOD_INVALID "
            "RUN_TERMS_INVALID WALLET_ADDRESS_INVALID REQUEST_ID_INVALID"
        ),
        HTTPStatus.FORBIDDEN: "IMPORT_APPROVER_SAME",
        HTTPStatus.NOT_FOUND: "IMPORT_UNKNOWN RUN_UNKNOWN SNAPSHOT_UNKNOWN",
        HTTPStatus.CONFLICT: (
            "IMPORT_NOT_AWAITING PERIOD_REWARDED PERIOD_NOT_OVER PULL_NOT_CONFIGURED NO_PARTICIPANTS "
            "RUN_CADENCE_MISMATCH RUN_EXISTS RUN_FINISHED RUN_WITHOUT_SCORES SCORES_STALE"
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: "PULL_FAILED",
    },
)

_BOARDS = replace(
    SCORE,
    name="boards",
    tag="Leaderboard",
    stub="leaderboard",
    service=leaderboard_pb2.DESCRIPTOR.services_by_name["LeaderboardService"],
    problems={HTTPStatus.BAD_REQUEST: "REBUILD_ORDER_INVALID REQUEST_ID_INVALID"},
)

ROUTES = (
    SCORE.get("/score/imports", "ListImports"),
    SCORE.get("/score/imports/{import_id}", "GetImport"),
    SCORE.get("/score/imports/{import_id}/errors", "ListImportErrors"),
    SCORE.act("/score/imports/{import_id}/approve", "ApproveImport"),
    SCORE.act("/score/imports/{import_id}/reject", "RejectImport"),
    SCORE.act("/score/pulls", "PullScores"),
    SCORE.get("/score/snapshots", "ListSnapshots"),
    SCORE.get("/score/snapshots/{snapshot_id}/scores", "ListSnapshotScores"),
    SCORE.ask("/score/previews", "PreviewRun", optional=("terms",)),
    SCORE.get("/score/runs", "ListRuns"),
    SCORE.act("/score/runs", "FreezeRun"),
    SCORE.get("/score/runs/{run_id}", "GetRun"),
    SCORE.act("/score/runs/{run_id}/start", "StartRun"),
    SCORE.act("/score/runs/{run_id}/abort", "AbortRun"),
    SCORE.get("/score/runs/{run_id}/allocations", "ListAllocations"),
    _BOARDS.act("/boards/rebuild", "Rebuild"),
)
