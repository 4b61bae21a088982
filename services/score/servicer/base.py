"""What the doors for holders have in common."""

from libs.clock import Clock
from libs.postgres import Postgres
from protos.score.v1 import score_pb2_grpc
from services.score.accounts import AccountRefs
from services.score.contracts import Contracts
from services.score.settings import Settings


class Base(score_pb2_grpc.ScoreServiceServicer):
    """What they are tied to."""

    def __init__(
        self, postgres: Postgres, clock: Clock, settings: Settings, account_refs: AccountRefs, contracts: Contracts
    ) -> None:
        self._postgres = postgres
        self._clock = clock
        self._settings = settings
        self._limits = settings.wallet_limits
        self._account_refs = account_refs
        self._contracts = contracts
