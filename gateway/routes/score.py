"""What an account got of the monthly pool, why, and the proof of it."""

from dataclasses import replace

from gateway.derived.own import Own
from gateway.route import Access
from protos.score.v1 import score_pb2

_SCORE = Own("Score", "score", score_pb2.DESCRIPTOR.services_by_name["ScoreService"])
_PUBLISHED = replace(_SCORE, access=Access.ANY_TOKEN)

_NAMED = "SCORE_ID_INVALID"

ROUTES = (
    _SCORE.get("/api/score/rewards", "ListRewards", bad_request="SCORE_PAGE_INVALID"),
    _SCORE.get("/api/score/runs/{run_id}", "ExplainReward", bad_request=_NAMED, not_found="RUN_UNKNOWN"),
    _SCORE.get(
        "/api/score/runs/{run_id}/proof",
        "GetProof",
        whole="document",
        bad_request=_NAMED,
        not_found="RUN_UNKNOWN NOT_REWARDED",
    ),
    _PUBLISHED.get("/api/score/runs/{run_id}/root", "GetPublicRun", bad_request=_NAMED, not_found="RUN_UNKNOWN"),
)
