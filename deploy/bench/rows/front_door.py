"""What creators and visitors wait for: requests through the gateway at a steady rate; and the board made again.

And the memory of everything, which is up only here.
"""

from collections.abc import Iterator

from deploy.bench.bench import Bench
from deploy.bench.figure import Figure, at_least, below
from deploy.local import servers, services
from deploy.local.ports import LOOPBACK, SERVICES

REBUILT_MIN = 20_000
_KINDS = {
    "readings": ("leaderboard", 20),
    "registrations": ("registration", 50),
    "payouts": ("payout request", 50),
}
"""Kind of request → the row, and the p99 in milliseconds that it stays below."""
_CHARGES_EACH = 9
"""Charges in the board's history beside each registration."""


def measure(bench: Bench) -> Iterator[Figure]:
    """The board is filled by its publishers' logs before leaderboard is there, so that nobody waits for the filling.

    Its charges are events alone, in no journal: the books' audit would say so, and this comes last.
    """
    stage, size = bench.stage, bench.size
    around, ports = stage.around, stage.ports
    of_target = size.name == "full"
    facts = stage.run("boards", "fill", stage.superuser_dsn, str(size.referrals), str(size.referrals * _CHARGES_EACH))
    stage.open(servers.valkey(stage.logs.parent / "redis", ports.redis), services.provider(around))
    begun = [name for name in ("score", "payout", "leaderboard") if not stage.has(name)]
    for name in begun:
        stage.start(name)
    stage.open(services.gateway(around))
    for name in (*begun, "gateway"):
        yield Figure(f"memory of {name} at rest", stage.memory_mib(name), "MiB", note="resident, just started")
    leaderboard = f"{LOOPBACK}:{ports.service('leaderboard')}"
    told = stage.run("boards", "rebuild", leaderboard, stage.superuser_dsn)
    yield Figure(
        "leaderboard rebuild",
        facts["facts"] / told["seconds"],
        "events/s",
        target=at_least(REBUILT_MIN) if of_target else None,
        note=f"{size.referrals:,} registrations, {size.referrals * _CHARGES_EACH:,} charges",
    )
    referral = f"{LOOPBACK}:{ports.service('referral')}"
    if of_target:
        stage.rest()
    for kind, (row, bound) in _KINDS.items():
        told = stage.run(
            "front_door", kind, f"http://{LOOPBACK}:{ports.gateway}", referral, stage.superuser_dsn,
            f"--seconds={size.door_seconds}",
        )  # fmt: skip
        if told["failures"]:
            raise RuntimeError(f"{row}: {told['failures']}")
        yield Figure(
            f"{row} by REST, p99",
            told["p99_ms"],
            "ms",
            target=below(bound) if of_target else None,
            note=f"100 requests/s, p50 {told['p50_ms']:.1f} ms, longest {told['max_ms']:.0f} ms",
        )
    for name in (*SERVICES, "gateway"):
        yield Figure(
            f"memory of {name} under load", stage.memory_mib(name), "MiB", note="resident, after the rows above"
        )
