"""Plays the demo economy against a running stack: `python -m deploy.local.demo --stack '<the line make up prints>'`."""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.local.demo import billing, bonuses, payouts, report, scores, state
from deploy.local.demo.economy import WAVES, Charge, Economy, build
from deploy.local.demo.front_door import FrontDoor, Refused
from protos.distribution.v1.distribution_pb2 import FinalizeResponse

SETTLEMENT = timedelta(hours=49)
HOLD = timedelta(days=14)


@dataclass(slots=True)
class Answers:
    """What distribution answered, by charge."""

    by_charge: dict[str, FinalizeResponse] = field(default_factory=dict)

    @property
    def replayed(self) -> int:
        return sum(answer.replayed for answer in self.by_charge.values())


async def sign_everybody_up(front_door: FrontDoor, economy: Economy, progress: Progress, path: Path) -> None:
    """Creators ask for codes, payers register with them, wave after wave; a second run finds them bound."""
    done = state.read(path)
    now = await front_door.now()
    bar = progress.add_task("sign-ups", total=len(economy.sign_ups))
    codes = {creator.account_id: await front_door.open_creator(creator, now) for creator in economy.creators}
    for wave in range(WAVES):
        of_wave = [sign_up for sign_up in economy.sign_ups if sign_up.wave == wave]
        if wave >= done.waves:
            await front_door.sign_up_wave(of_wave, codes)
            done.waves = wave + 1
            state.write(path, done)
        progress.advance(bar, len(of_wave))


async def anchor(front_door: FrontDoor, economy: Economy, path: Path) -> datetime:
    """When the first charge happens: chosen once, so that the last one is just past, and kept for every later run."""
    done = state.read(path)
    if done.first_charge_at is not None:
        return done.first_charge_at
    first_charge_at = await front_door.now() - economy.duration - timedelta(seconds=1)
    done.anchor = first_charge_at.isoformat()
    state.write(path, done)
    return first_charge_at


async def earn_bonuses(
    front_door: FrontDoor, stack: dict[str, str], economy: Economy, progress: Progress, path: Path
) -> None:
    """The campaign is funded; payers buy credits, which referral learns by events, and mint, which billing reports."""
    paid_at = await anchor(front_door, economy, path)
    bar = progress.add_task("bonuses", total=3)
    await bonuses.open_campaign(stack["distribution"])
    progress.advance(bar)
    await billing.report_purchases(stack["distribution"], economy.purchases, paid_at)
    await bonuses.purchases_known(front_door, economy)
    progress.advance(bar)
    await bonuses.report_mints(stack["referral"], economy.mints, paid_at)
    progress.advance(bar)


async def replay_trace(
    front_door: FrontDoor, distribution: str, economy: Economy, progress: Progress, path: Path
) -> Answers:
    """Billing finalizes every charge of the trace, rebased so that the last one is just past."""
    first_charge_at = await anchor(front_door, economy, path)
    answers = Answers()
    bar = progress.add_task("charges", total=len(economy.charges))

    def answered(charge: Charge, answer: FinalizeResponse) -> None:
        answers.by_charge[charge.inference_charge_id] = answer
        progress.advance(bar)

    await billing.finalize_all(distribution, economy.charges, first_charge_at, answered)
    return answers


async def bring_scores(
    front_door: FrontDoor, stack: dict[str, str], economy: Economy, progress: Progress, path: Path
) -> None:
    """Wallets are linked and scores brought; when the week is over, its pool is shared by them."""
    bar = progress.add_task("scores", total=3)
    await scores.open_pool(stack["distribution"])
    progress.advance(bar)
    await scores.link_wallets(stack["score"], economy)
    progress.advance(bar)
    # With the first charge, so that its week is shared too where the trace goes on into the next one.
    await scores.bring_scores(stack["score"], economy, await anchor(front_door, economy, path))
    progress.advance(bar)


async def let_it_settle(
    front_door: FrontDoor, distribution: str, economy: Economy, progress: Progress, path: Path
) -> None:
    """One refund comes at once, the other when everything has settled; then the hold of 14 days passes."""
    done = state.read(path)
    paid_at = await anchor(front_door, economy, path)
    bar = progress.add_task("16 days", total=3)
    await billing.report_refunds(distribution, economy.purchases, paid_at, late=False)
    progress.advance(bar)
    if not done.settled:
        await front_door.advance(int(SETTLEMENT.total_seconds()))
    await report.settled(distribution, economy)
    await billing.report_refunds(distribution, economy.purchases, paid_at, late=True)
    await bonuses.refunds_known(front_door, economy)
    progress.advance(bar)
    if not done.settled:
        await front_door.advance(int(HOLD.total_seconds()))
        done.settled = True
        state.write(path, done)
    progress.advance(bar)


async def play(stack: dict[str, str], economy: Economy, path: Path, console: Console) -> bool:
    """The whole demo; true when every check holds."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with FrontDoor(stack["gateway"]) as front_door:
        with Progress(*columns, console=console) as progress:
            await sign_everybody_up(front_door, economy, progress, path)
            await earn_bonuses(front_door, stack, economy, progress, path)
            answers = await replay_trace(front_door, stack["distribution"], economy, progress, path)
            await bring_scores(front_door, stack, economy, progress, path)
            await let_it_settle(front_door, stack["distribution"], economy, progress, path)
        rewards = await scores.rewarded(stack["score"], economy, await anchor(front_door, economy, path))
        paid = await payouts.pay(front_door, stack, economy)
        result = await report.collect(stack, front_door, economy, answers.by_charge, rewards, paid)
    if answers.replayed:
        console.print(f"{answers.replayed:,} charges had been answered before: they were paid nothing again.")
    return report.show(result, console)


def main() -> int:
    """Exit code 0 when every check holds."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.demo", description=__doc__)
    parser.add_argument("--stack", required=True, help="the JSON line that make up prints")
    parser.add_argument("--state", type=Path, default=Path(".local/demo.json"), help="what a second run must know")
    parser.add_argument("--charges", type=int, default=None, help="only so many charges of the trace")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    held = False
    try:
        held = asyncio.run(play(json.loads(arguments.stack), build(limit=arguments.charges), arguments.state, console))
    except* (Refused, TimeoutError, OSError, grpc.aio.AioRpcError) as group:
        console.print(f"The demo stopped: {first_of(group)}", style="red")
    return 0 if held else 1


def first_of(error: BaseException) -> BaseException:
    """The first error in a tree of groups: the others are mostly its consequences."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
