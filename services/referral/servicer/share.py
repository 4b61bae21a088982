"""creator.referral.v1.ShareService: what a creator hands out."""

import io
from typing import Final

import segno

from libs.clock import Clock
from libs.postgres import Postgres
from libs.rpc.door import Context
from protos.referral.v1 import share_pb2, share_pb2_grpc
from services.referral.commands import codes
from services.referral.rules import accounts as account_rules
from services.referral.rules import codes as code_rules
from services.referral.rules import registration as registration_rules
from services.referral.settings import Settings

CALLERS: Final = frozenset({"gateway"})
"""Who may call it, by the name in the caller's certificate."""


class ShareServicer(share_pb2_grpc.ShareServiceServicer):
    """creator.referral.v1.ShareService."""

    def __init__(self, postgres: Postgres, clock: Clock, settings: Settings) -> None:
        self._postgres = postgres
        self._clock = clock
        self._base_url = settings.share_base_url

    async def GetShareCard(
        self, request: share_pb2.GetShareCardRequest, context: Context
    ) -> share_pb2.GetShareCardResponse:
        account_id = account_rules.check_account_id(request.account_id)
        channel = registration_rules.check_channel(request.channel)
        code = await codes.get_code(self._postgres, self._clock, account_id)
        url = code_rules.share_url(self._base_url, code.code, channel)
        return share_pb2.GetShareCardResponse(code=code.code, share_url=url, qr_svg=_qr_svg(url))


def _qr_svg(url: str) -> str:
    """A QR code that a crumpled print still shows (a quarter may be lost), as an SVG document that scales."""
    document = io.BytesIO()
    segno.make_qr(url, error="q").save(document, kind="svg", omitsize=True, title="Referral link")
    return document.getvalue().decode()
