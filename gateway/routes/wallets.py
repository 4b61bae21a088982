"""Wallets of whoever calls: challenged, linked by a signature, unlinked."""

from gateway.derived.own import Own
from protos.score.v1 import score_pb2

_WALLETS = Own("Wallets", "score", score_pb2.DESCRIPTOR.services_by_name["ScoreService"])

_ADDRESSED = "WALLET_ADDRESS_INVALID"
_CHAINED = f"{_ADDRESSED} WALLET_CHAIN_UNSUPPORTED"
_UNREACHED = "SCORE_ACCOUNT_UNREACHABLE"

ROUTES = (
    _WALLETS.get("/api/wallets", "ListWallets"),
    _WALLETS.post(
        "/api/wallets/challenge",
        "CreateChallenge",
        bad_request=_CHAINED,
        too_many_requests="TOO_MANY_CHALLENGES",
        service_unavailable=_UNREACHED,
    ),
    _WALLETS.post(
        "/api/wallets",
        "LinkWallet",
        bad_request=f"{_CHAINED} WALLET_NONCE_INVALID WALLET_SIGNATURE_INVALID WALLET_SIGNATURE_MALLEABLE",
        not_found="CHALLENGE_UNKNOWN",
        conflict=(
            "CHALLENGE_USED CHALLENGE_EXPIRED CHALLENGE_OF_OTHER_WALLET CHALLENGE_OF_OTHER_CHAIN WALLET_TAKEN "
            "WALLET_COOLING_DOWN TOO_MANY_WALLETS WALLET_SIGNATURE_MISMATCH CONTRACT_WALLETS_UNSUPPORTED "
            "CONTRACT_SIGNATURE_REFUSED"
        ),
        service_unavailable=f"{_UNREACHED} CHAIN_UNREACHABLE",
    ),
    _WALLETS.delete("/api/wallets/{wallet_address}", "UnlinkWallet", bad_request=_ADDRESSED),
)
