"""The journal: one wide immutable row per finalized charge."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import asyncpg

from libs import outbox
from libs.money import Split
from libs.postgres import Connection, violated
from libs.telemetry import current_traceparent
from services.distribution.model import Decision, Distribution, Part, Posted, ReferrerOutcome, Row
from services.distribution.rules.refusals import PromotionalBelowBurned

_POST_GROUP = f"SELECT post_group({', '.join(f'${place}' for place in range(1, 31))})"

_COVERED = "distributions_cover_burns"

_POSTED = """
    inference_charge_id, distribution_id::text, fingerprint, rule_version, referrer_outcome,
    referrer_micro, commons_micro, community_micro, foundation_micro
    """


async def post_group(
    connection: Connection,
    rows: Iterable[Row],
    amounts_micro: Mapping[int, int],
    told: Iterable[outbox.Entry],
    *,
    revision: int,
    recorded_at: datetime,
) -> bool:
    """Write new charges with their amounts by account id and their events: one statement, one transaction.

    Rows come in order of their charge id. False, and nothing is written, where the rules no longer stand at `revision`.
    Raises UniqueViolationError, having written nothing, where one of the charges is in the journal already, and
    PromotionalBelowBurned where one says less than was burned for it.
    """
    try:
        posted: bool = await connection.fetchval(
            _POST_GROUP,
            revision,
            recorded_at,
            *zip(*map(_values, rows), strict=True),
            amounts_micro.keys(),
            amounts_micro.values(),
            *outbox.outbox_columns(told),
            current_traceparent(),
        )
    except asyncpg.CheckViolationError as error:
        if violated(error) == _COVERED:
            raise PromotionalBelowBurned(field="promotional_micro", burned_micro=error.detail) from None
        raise
    return posted


def _values(row: Row) -> tuple[object, ...]:
    (charge_id, distribution_id, fingerprint, decision), charge, attribution = row
    split = decision.split
    return (
        distribution_id,
        attribution.payer_ref,
        attribution.referrer_ref,
        charge.revenue_micro,
        charge.promotional_micro,
        charge.provider_cost_micro,
        split.referrer_micro,
        split.commons_micro,
        split.community_micro,
        split.foundation_micro,
        charge.finalized_at,
        decision.rule_version,
        decision.referrer_outcome,
        charge_id,
        charge.community_id,
        charge.model,
        charge.model_tier,
        fingerprint,
        _to_json(charge.model_breakdown, "model"),
        _to_json(charge.funding, "payment_id"),
    )


async def find_posted(connection: Connection, charge_ids: Sequence[str]) -> dict[str, Posted]:
    """Those of the charges that were finalized before."""
    # A join, not ANY (…): each id is looked up in its own partition only.
    rows = await connection.fetch(
        f"""
        SELECT {_POSTED} FROM unnest($1::text[]) AS wanted (id)
        JOIN distributions ON inference_charge_id = wanted.id
        """,  # noqa: S608 - constant columns
        charge_ids,
    )
    return {row[0]: _posted(row) for row in rows}


async def find(connection: Connection, charge_id: str) -> Distribution | None:
    """One distribution."""
    row = await connection.fetchrow(
        f"""
        SELECT {_POSTED}, payer_ref::text, referrer_ref::text, community_id, revenue_micro, promotional_micro,
            provider_cost_micro, model, model_tier, model_breakdown, funding, finalized_at, recorded_at
        FROM distributions WHERE inference_charge_id = $1
        """,  # noqa: S608 - constant columns
        charge_id,
    )
    if row is None:
        return None
    return Distribution(
        posted=_posted(row),
        payer_ref=row["payer_ref"],
        referrer_ref=row["referrer_ref"],
        community_id=row["community_id"],
        revenue_micro=row["revenue_micro"],
        promotional_micro=row["promotional_micro"],
        provider_cost_micro=row["provider_cost_micro"],
        model=row["model"],
        model_tier=row["model_tier"],
        model_breakdown=_from_json(row["model_breakdown"], "model"),
        funding=_from_json(row["funding"], "payment_id"),
        finalized_at=row["finalized_at"],
        recorded_at=row["recorded_at"],
    )


def _posted(row: asyncpg.Record) -> Posted:
    charge_id, distribution_id, fingerprint, rule_version, outcome, *shares = row[:9]
    decision = Decision(rule_version, ReferrerOutcome(outcome), Split(*shares))
    return Posted(charge_id, distribution_id, fingerprint, decision)


def _to_json(parts: Sequence[Part], name: str) -> str | None:
    return json.dumps([{name: part.name, "amount_micro": part.amount_micro} for part in parts]) if parts else None


def _from_json(text: str | None, name: str) -> tuple[Part, ...]:
    return tuple(Part(part[name], part["amount_micro"]) for part in json.loads(text or "[]"))
