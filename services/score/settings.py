"""What differs between deployments of score."""

from collections.abc import Mapping

import environ

from libs.settings import Secret, one_of, seconds, whole
from libs.settings import Settings as Base
from services.score.model import WalletLimits
from services.score.model.runs import Terms
from services.score.rules.runs import MONTH, WEEK

_DAY = 86_400
_MAX_MICRO = 10**15
_MAX_SCORE = 10**30


def _chains(value: str) -> frozenset[int]:
    numbers = value.split(",")
    if not all(number.isascii() and number.isdecimal() and 0 < int(number) < 2**53 for number in numbers):
        raise ValueError("must be EIP-155 chain ids, separated by commas")
    return frozenset(int(number) for number in numbers)


def _endpoints(value: str) -> Secret:
    for entry in filter(None, value.split(" ")):
        chain, _, url = entry.partition("=")
        if not (chain.isascii() and chain.isdecimal() and url.startswith(("https://", "http://"))):
            raise ValueError("must be chain=URL, separated by spaces")
    return Secret(value)


def _pulled(value: str) -> Secret:
    if value and not value.startswith(("https://", "http://")):
        raise ValueError("must be an http or https URL")
    return Secret(value)


@environ.config(prefix="", frozen=True)
class Settings(Base):
    """Limits of the design, each with its default."""

    chain_ids: frozenset[int] = environ.var("1,10,137,8453,42161", converter=_chains, help="Chains of wallets.")
    chain_endpoints: Secret = environ.var(
        "", converter=_endpoints, help="chain=URL …: for contract wallets (EIP-1271)."
    )
    chain_timeout_seconds: float = environ.var("2", converter=seconds(0.1, 60))
    wallets_per_account: int = environ.var("10", converter=whole(1, 1000))
    wallet_cooldown_days: int = environ.var("30", converter=whole(0, 3660))
    challenge_seconds: int = environ.var("300", converter=whole(10, _DAY))
    challenges_per_hour: int = environ.var("30", converter=whole(1, 10_000))

    import_max_bytes: int = environ.var(str(512 * 2**20), converter=whole(1, 2**40))
    import_swing_bps: int = environ.var("5000", converter=whole(1, 10_000), help="More needs a second operator.")
    import_idle_seconds: float = environ.var("300", converter=seconds(1, 86_400), help="A silent reader is gone after.")
    pull_url: Secret = environ.var("", converter=_pulled, help="Scores are fetched from here by schedule.")
    pull_every_seconds: int = environ.var(str(_DAY), converter=whole(60, 366 * _DAY))
    pull_format: str = environ.var("csv", converter=one_of("csv", "jsonl"))
    pull_decimals: int = environ.var("0", converter=whole(0, 30))
    pull_timeout_seconds: float = environ.var("300", converter=seconds(1, 3600))
    score_max_age_days: int = environ.var("40", converter=whole(1, 3660))

    run_cadence: str = environ.var(MONTH, converter=one_of(MONTH, WEEK))
    run_automatic: int = environ.var("1", converter=whole(0, 1), help="0: runs begin by an operator's hand alone.")
    run_micro: int = environ.var("1000000000", converter=whole(1, _MAX_MICRO), help="Most that a run divides.")
    wallet_minimum_score: int = environ.var("1", converter=whole(1, _MAX_SCORE))
    account_minimum_score: int = environ.var("1", converter=whole(1, _MAX_SCORE))
    run_begin_seconds: float = environ.var(
        "60", converter=seconds(0.01, 3600), help="How often due runs are looked for."
    )
    run_poll_seconds: float = environ.var("1", converter=seconds(0.01, 60))

    @property
    def wallet_limits(self) -> WalletLimits:
        """What bounds linking."""
        return WalletLimits(
            chain_ids=self.chain_ids,
            wallets_per_account=self.wallets_per_account,
            challenge_seconds=self.challenge_seconds,
            challenges_per_hour=self.challenges_per_hour,
            cooldown_days=self.wallet_cooldown_days,
        )

    @property
    def terms(self) -> Terms:
        """What a run divides and by which limits."""
        return Terms(self.run_micro, self.wallet_minimum_score, self.account_minimum_score)

    @property
    def endpoints(self) -> Mapping[int, str]:
        """Where contracts of a chain are asked, by the chain's id."""
        pairs = (entry.partition("=") for entry in self.chain_endpoints.split(" ") if entry)
        return {int(chain): url for chain, _, url in pairs}
