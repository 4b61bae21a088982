"""Documents through the door, on books in which everything has happened."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NamedTuple

import pytest

from libs import rpc
from protos.distribution.v1 import documents_pb2 as pb
from protos.distribution.v1 import documents_pb2_grpc
from services.distribution.commands import closing
from services.distribution.servicer.documents import CALLERS, DocumentsServicer
from tests.support.campaigns import campaigns_running, refusal
from tests.support.databases import Databases
from tests.support.distribution import ledger_running, referral_running
from tests.support.histories import History, lived


class Partner(NamedTuple):
    """Who asks, and what happened."""

    history: History
    stub: documents_pb2_grpc.DocumentsServiceStub

    async def value(self, query: str) -> str:
        return str(await self.history.ledger.value(query))


@pytest.fixture(scope="module")
async def partner(databases: Databases) -> AsyncIterator[Partner]:
    name, referral_name = await databases.create("distribution"), await databases.create("referral")
    server = rpc.Server("distribution", test_mode=True, drain_wait_seconds=0)
    async with (
        referral_running(databases.dsn_of(referral_name)) as referral,
        ledger_running(databases.dsn_of(name), referral) as ledger,
        campaigns_running(ledger) as campaigns,
    ):
        history = await lived(ledger, campaigns)
        ledger.clock.advance(timedelta(hours=3))
        await closing.close_hours(ledger.postgres, ledger.clock.now())
        server.add(
            documents_pb2_grpc.add_DocumentsServiceServicer_to_server,
            DocumentsServicer(ledger.postgres),
            "creator.distribution.v1.DocumentsService",
            CALLERS,
        )
        await server.start()
        await server.ready()
        async with rpc.channel(f"127.0.0.1:{server.port}", caller="anonymous") as channel:
            yield Partner(history, documents_pb2_grpc.DocumentsServiceStub(channel))
        await server.drain(hasty=True)
    await databases.drop(name)
    await databases.drop(referral_name)


async def test_a_billing_entry_by_either_id(partner: Partner) -> None:
    entry = await partner.stub.GetBillingEntry(pb.GetBillingEntryRequest(inference_charge_id="plain-4"))
    found = json.loads(entry.document)
    assert found["total_cost_micro"] == "7777777"
    assert [each["amount_micro"] for each in found["recipients"]] == ["777777", "350000", "4900000", "1750000"]
    again = await partner.stub.GetBillingEntry(pb.GetBillingEntryRequest(billing_entry_id=found["id"]))
    assert again.document == entry.document


async def test_credit_notes_of_a_refund_are_within_their_entry(partner: Partner) -> None:
    request = pb.GetBillingEntryRequest(inference_charge_id="funded-late")
    entry = (await partner.stub.GetBillingEntry(request)).document
    listed = await partner.stub.ListCreditNotes(pb.ListCreditNotesRequest(billing_entry_id=json.loads(entry)["id"]))
    (note,) = listed.documents
    assert json.loads(note)["amount_micro"] == "100000"
    same = await partner.stub.GetCreditNote(pb.GetCreditNoteRequest(credit_note_id=json.loads(note)["id"]))
    assert same.document == note
    flow = pb.ECONOMY_FLOW_BILLING_ENTRY_TO_CREDIT_NOTE
    verified = await partner.stub.VerifyEconomyFlow(pb.VerifyEconomyFlowRequest(source=entry, target=note, entry=flow))
    assert (verified.valid, verified.reason) == (True, "")
    twice = pb.VerifyEconomyFlowRequest(source=entry, target=f"[{note},{note}]", entry=flow)
    assert (await partner.stub.VerifyEconomyFlow(twice)).reason == "FULL_REFUND_TWICE"


async def test_a_completed_payout_has_a_note_against_an_entry_of_its_creator(partner: Partner) -> None:
    payout_id = await partner.value("SELECT payout_id FROM payout_holds WHERE state = 4")
    document = (await partner.stub.GetCreditNote(pb.GetCreditNoteRequest(credit_note_id=payout_id))).document
    note = json.loads(document)
    assert (note["reason"], note["amount_micro"]) == ("adjustment", "-20000")
    entry_id = note["references_billing_entry"]
    assert (await partner.stub.GetBillingEntry(pb.GetBillingEntryRequest(billing_entry_id=entry_id))).document
    listed = await partner.stub.ListCreditNotes(pb.ListCreditNotesRequest(billing_entry_id=entry_id, page_size=1))
    assert list(listed.documents) == [document]


async def test_every_hold_has_an_escrow_entry_of_its_own(partner: Partner) -> None:
    rows = await partner.history.ledger.rows("SELECT payout_id::text, round, state FROM payout_holds ORDER BY 1, 2")
    ids = set()
    for row in rows:
        latest = await partner.stub.GetEscrowEntry(pb.GetEscrowEntryRequest(payout_id=row["payout_id"]))
        escrow_id = json.loads(latest.document)["escrow_id"]
        assert uuid.UUID(escrow_id).version == 4
        assert escrow_id == escrow_id.lower()
        same = await partner.stub.GetEscrowEntry(pb.GetEscrowEntryRequest(escrow_id=escrow_id))
        assert same.document == latest.document
        ids.add(escrow_id)
    assert len(ids) == len({row["payout_id"] for row in rows})


async def test_events_come_in_one_order_in_pages(partner: Partner) -> None:
    whole = await partner.stub.ListDomainEvents(pb.ListDomainEventsRequest(page_size=500))
    assert not whole.more
    paged: list[str] = []
    token, more = "", True
    while more:
        page = await partner.stub.ListDomainEvents(pb.ListDomainEventsRequest(page_size=7, page_token=token))
        paged += page.documents
        token, more = page.next_page_token, page.more
    assert paged == list(whole.documents)
    counts = "(SELECT count(*) FROM distributions) + (SELECT count(*) FROM transfers)"
    assert len(paged) == int(await partner.value(f"SELECT {counts}"))
    rest = await partner.stub.ListDomainEvents(pb.ListDomainEventsRequest(page_token=token))
    assert (list(rest.documents), rest.more, rest.next_page_token) == ([], False, token)
    settled = await partner.stub.ListDomainEvents(pb.ListDomainEventsRequest(type="economy.earning.settled"))
    assert {json.loads(each)["type"] for each in settled.documents} == {"economy.earning.settled"}


async def test_bad_questions_are_refused(partner: Partner) -> None:
    stub, nobody = partner.stub, str(uuid.uuid4())
    assert await refusal(stub.GetBillingEntry(pb.GetBillingEntryRequest())) == "DOCUMENT_KEY_INVALID"
    assert await refusal(stub.GetBillingEntry(pb.GetBillingEntryRequest(billing_entry_id=nobody))) == "DOCUMENT_UNKNOWN"
    assert await refusal(stub.GetCreditNote(pb.GetCreditNoteRequest(credit_note_id=nobody))) == "DOCUMENT_UNKNOWN"
    assert await refusal(stub.GetEscrowEntry(pb.GetEscrowEntryRequest(escrow_id="x"))) == "DOCUMENT_KEY_INVALID"
    assert await refusal(stub.GetEscrowEntry(pb.GetEscrowEntryRequest(payout_id=nobody))) == "DOCUMENT_UNKNOWN"
    events = stub.ListDomainEvents
    assert await refusal(events(pb.ListDomainEventsRequest(type="no.such.type"))) == "DOCUMENT_TYPE_INVALID"
    assert await refusal(events(pb.ListDomainEventsRequest(page_size=501))) == "DOCUMENT_PAGE_INVALID"
    assert await refusal(events(pb.ListDomainEventsRequest(page_token="x"))) == "DOCUMENT_PAGE_INVALID"
    for source in ("", "{", "1", "[]", "[" * 5000, '"' + "x" * 70_000 + '"'):
        request = pb.VerifyEconomyFlowRequest(source=source, target="{}", entry=pb.ECONOMY_FLOW_ESCROW_TRANSITION)
        assert await refusal(stub.VerifyEconomyFlow(request)) == "DOCUMENT_INVALID"
    request = pb.VerifyEconomyFlowRequest(source="{}", target="{}")
    assert await refusal(stub.VerifyEconomyFlow(request)) == "FLOW_INVALID"
