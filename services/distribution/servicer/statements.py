"""The reads of creator.distribution.v1.LedgerService that go by time."""

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from libs.timestamps import to_datetime, to_timestamp
from protos.distribution.v1 import ledger_pb2 as pb
from services.distribution.model.statements import Cursor, Entry, Statement
from services.distribution.rules import queries
from services.distribution.rules import statements as rules
from services.distribution.store import entries
from services.distribution.store import statements as store


class Statements:
    """Mixed into the ledger's servicer."""

    _postgres: Postgres
    _clock: Clock

    async def GetBalanceAt(self, request: pb.GetBalanceAtRequest, context: Context) -> pb.GetBalanceAtResponse:
        (name,) = queries.check_account_names([request.account_name])
        if not request.HasField("at"):
            raise rules.InstantMissing(field="at")
        at = to_datetime(request.at, field="at")
        async with self._postgres.transaction(readonly=True) as connection:
            account = await entries.find_account(connection, name)
            balance_micro = await store.balance_at(connection, account, at) if account else 0
        return pb.GetBalanceAtResponse(balance=pb.Balance(account_name=name, balance_micro=balance_micro))

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        (name,) = queries.check_account_names([request.account_name])
        size = rules.check_page(request.page_size)
        start = to_datetime(request.from_time, field="from_time") if request.HasField("from_time") else rules.BEGINNING
        end = to_datetime(request.to_time, field="to_time") if request.HasField("to_time") else rules.END
        after = Cursor(start, rules.BEFORE_ALL)
        if request.page_token:
            after = max(after, rules.read_token(request.page_token))
        async with self._postgres.transaction(readonly=True) as connection:
            account = await entries.find_account(connection, name)
            page = await entries.page(connection, account, after, end, size + 1) if account else []
        token = ""
        if len(page) > size:
            token = rules.token_of(Cursor(page[size - 1].recorded_at, page[size - 1].transfer_id))
        return pb.ListEntriesResponse(entries=[_entry(each) for each in page[:size]], next_page_token=token)

    async def GetStatement(self, request: pb.GetStatementRequest, context: Context) -> pb.GetStatementResponse:
        (name,) = queries.check_account_names([request.account_name])
        if not (request.HasField("from_time") and request.HasField("to_time")):
            raise rules.StatementPeriodInvalid(field="from_time" if request.HasField("to_time") else "to_time")
        start = to_datetime(request.from_time, field="from_time")
        end = to_datetime(request.to_time, field="to_time")
        rules.check_period(start, end)
        async with self._postgres.transaction(readonly=True) as connection:
            account = await entries.find_account(connection, name)
            if account is None:
                return pb.GetStatementResponse()
            opening_micro = await store.balance_at(connection, account, start)
            moved = await store.movements(connection, account, start, end)
        return _statement(Statement(opening_micro, tuple(moved)))

    async def GetTransfer(self, request: pb.GetTransferRequest, context: Context) -> pb.GetTransferResponse:
        transfer_id = rules.check_transfer_id(request.transfer_id)
        size, after = rules.check_page(request.page_size), rules.read_leg(request.page_token)
        async with self._postgres.connection() as connection:
            legs = await entries.transfer(connection, transfer_id, after, size + 1)
        if not legs and not after:
            raise rules.TransferUnknown
        token = str(after + size) if len(legs) > size else ""
        return pb.GetTransferResponse(entries=[_entry(leg) for leg in legs[:size]], next_page_token=token)


def _entry(entry: Entry) -> pb.Entry:
    return pb.Entry(
        transfer_id=entry.transfer_id,
        kind=pb.TransferKind.ValueType(entry.kind),
        account_name=entry.account_name,
        amount_micro=entry.amount_micro,
        cause_id=entry.cause_id,
        recorded_at=to_timestamp(entry.recorded_at),
    )


def _statement(statement: Statement) -> pb.GetStatementResponse:
    return pb.GetStatementResponse(
        opening_micro=statement.opening_micro,
        movements=[
            pb.StatementMovement(
                kind=pb.TransferKind.ValueType(kind),
                increase_micro=increase_micro,
                decrease_micro=decrease_micro,
                entries=entries,
            )
            for kind, increase_micro, decrease_micro, entries in statement.movements
        ],
        closing_micro=statement.closing_micro,
    )
