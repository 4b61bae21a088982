"""creator.referral.v1.ShareService: what a creator shares."""

from typing import Final

from libs.rpc.unserved import unserved
from protos.referral.v1 import share_pb2_grpc

CALLERS: Final = frozenset({"gateway"})
"""Who may call it, by the name in the caller's certificate."""

share = unserved(share_pb2_grpc.ShareServiceServicer, "There are no share cards yet; the code itself can be shared.")()
