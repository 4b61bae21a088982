"""creator.distribution.v1.DocumentsService: JSON texts for partners, made from the journal as they are asked for."""

import json
from datetime import UTC, datetime
from typing import Final

from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime
from protos.distribution.v1 import documents_pb2 as pb
from protos.distribution.v1 import documents_pb2_grpc
from services.distribution.rules import document_queries as queries
from services.distribution.rules import documents as rules
from services.distribution.rules import flows
from services.distribution.rules.queries import check_charge_id
from services.distribution.store import documents as store

CALLERS: Final = frozenset({"gateway", "billing", "payout"})
"""Who hands documents on to partners."""

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)


class DocumentsServicer(documents_pb2_grpc.DocumentsServiceServicer):
    """creator.distribution.v1.DocumentsService."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def GetBillingEntry(self, request: pb.GetBillingEntryRequest, context: Context) -> pb.GetBillingEntryResponse:
        charge_id, distribution_id = "", ""
        if request.WhichOneof("key") == "inference_charge_id":
            charge_id = check_charge_id(request.inference_charge_id)
        else:
            distribution_id = queries.check_id(request.billing_entry_id, "billing_entry_id")
        async with self._postgres.connection() as connection:
            found = await store.find_billed(connection, charge_id=charge_id, distribution_id=distribution_id)
        if found is None:
            raise queries.DocumentUnknown
        return pb.GetBillingEntryResponse(document=_text(rules.billing_entry(found)))

    async def GetCreditNote(self, request: pb.GetCreditNoteRequest, context: Context) -> pb.GetCreditNoteResponse:
        note_id = queries.check_id(request.credit_note_id, "credit_note_id")
        async with self._postgres.transaction(readonly=True) as connection:
            if credited := await store.find_credited(connection, note_id):
                return pb.GetCreditNoteResponse(document=_text(rules.refund_note(credited)))
            if paid := await store.find_paid_out(connection, note_id):
                return pb.GetCreditNoteResponse(document=_text(rules.payout_note(paid)))
        raise queries.DocumentUnknown

    async def ListCreditNotes(self, request: pb.ListCreditNotesRequest, context: Context) -> pb.ListCreditNotesResponse:
        entry_id = queries.check_id(request.billing_entry_id, "billing_entry_id")
        size, after = queries.check_size(request.page_size, 50, 200), queries.read_token(request.page_token)
        async with self._postgres.transaction(readonly=True) as connection:
            billed = await store.find_billed(connection, distribution_id=entry_id)
            if billed is None:
                raise queries.DocumentUnknown
            credited = await store.credited_of(connection, entry_id, after, size + 1)
            paid = await store.paid_out_against(connection, billed, after, size + 1)
        notes = [(each.recorded_at, each.credit_note_id, rules.refund_note(each)) for each in credited]
        notes += [(each.completed_at, each.payout_id, rules.payout_note(each)) for each in paid]
        notes.sort(key=lambda note: note[:2])
        shown = notes[:size]
        return pb.ListCreditNotesResponse(
            documents=[_text(document) for _, _, document in shown],
            next_page_token=queries.token_of(*shown[-1][:2]) if len(notes) > size else "",
        )

    async def GetEscrowEntry(self, request: pb.GetEscrowEntryRequest, context: Context) -> pb.GetEscrowEntryResponse:
        payout_id, escrow_id = "", ""
        if request.WhichOneof("key") == "payout_id":
            payout_id = queries.check_id(request.payout_id, "payout_id")
        else:
            escrow_id = queries.check_id(request.escrow_id, "escrow_id")
        async with self._postgres.connection() as connection:
            found = await store.find_escrowed(connection, payout_id=payout_id, escrow_id=escrow_id)
        if found is None:
            raise queries.DocumentUnknown
        return pb.GetEscrowEntryResponse(document=_text(rules.escrow_entry(found)))

    async def ListDomainEvents(
        self, request: pb.ListDomainEventsRequest, context: Context
    ) -> pb.ListDomainEventsResponse:
        size, kind = queries.check_size(request.page_size, 100, 500), queries.check_type(request.type)
        after = queries.read_token(request.page_token)
        since = to_datetime(request.from_time, field="from_time") if request.HasField("from_time") else _BEGINNING
        async with self._postgres.transaction(readonly=True) as connection:
            found = await store.happened(connection, kind, since, after, size + 1)
        shown = found[:size]
        place = (shown[-1].recorded_at, shown[-1].event_id) if shown else after
        return pb.ListDomainEventsResponse(
            documents=[_text(rules.domain_event(each)) for each in shown],
            next_page_token=queries.token_of(*place),
            more=len(found) > size,
        )

    async def VerifyEconomyFlow(
        self, request: pb.VerifyEconomyFlowRequest, context: Context
    ) -> pb.VerifyEconomyFlowResponse:
        source, target = flows.read(request.source, "source"), flows.read(request.target, "target")
        reason = flows.verify(request.entry, source, target)
        return pb.VerifyEconomyFlowResponse(valid=not reason, reason=reason, message=flows.MESSAGES[reason])


def _text(document: rules.Document) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
