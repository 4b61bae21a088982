"""The second factor that a batch is verified with (RFC 6238: SHA-1, six digits, 30 seconds).

Not by a library: the provider's secrets have 75 bits, which pyotp refuses to use.
"""

import base64
import hmac
from datetime import UTC, datetime
from typing import Final

STEP_SECONDS: Final = 30


def code_at(secret: str, instant: datetime) -> str:
    """The code of that instant. The secret may have blanks, lower case and no padding, as it is shown to people."""
    digest = hmac.digest(base64.b32decode(normalised(secret)), step_of(instant).to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"


def step_of(instant: datetime) -> int:
    """Number of the 30 seconds that `instant` is in. One code is good for one batch."""
    return int(instant.astimezone(UTC).timestamp()) // STEP_SECONDS


def normalised(secret: str) -> str:
    """Base32 without blanks, in upper case, padded."""
    plain = "".join(secret.split()).upper().rstrip("=")
    return plain + "=" * (-len(plain) % 8)
