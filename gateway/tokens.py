"""Bearer tokens: who calls, and what the issuer lets them do.

A token is a signed JWT (RFC 7519). `sub` is the account id, `scope` a space separated list, `account_created_at` an
RFC 3339 time or epoch seconds. Its own times are checked against the machine's clock, not against business time, so a
test may move the years and keep its token.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.util import urlsafe_b64decode

from gateway.keys import Keys
from gateway.problems import TokenInvalid, TokenMissing
from libs.nesting import shallow

MAX_BYTES: Final = 8192
MAX_ID: Final = 128
MAX_SCOPES: Final = 100
TEST_LIFETIME: Final = timedelta(days=30)

_KEY_TYPES: Final = {"EdDSA": "OKP", "Ed25519": "OKP", "RS256": "RSA"}
_CHALLENGE: Final = 'Bearer realm="creator-economy"'
_MAX_EPOCH: Final = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a token."""

    account_id: str
    scopes: frozenset[str]
    account_created_at: datetime | None


NOBODY: Final = Caller("", frozenset(), None)


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose tokens are taken, and for whom they must be."""

    issuer: str
    audience: str
    leeway: timedelta = timedelta(seconds=30)


class _Registry(jws.JWSRegistry):
    """Pins the one algorithm that fits the key; unlike its base it stays silent about the name EdDSA."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise JoseError("not the algorithm that was pinned")
        return self.algorithms[name]


class Tokens:
    """Checks bearer tokens."""

    def __init__(self, policy: Policy, keys: Keys | None, secret: str = "", *, now: Callable[[], datetime]) -> None:
        """`secret` opens HS256, which only test mode may do; `now` is the machine's time."""
        self._policy = policy
        self._keys = keys
        self._secret = OctKey.import_key(secret) if secret else None
        self._now = now

    async def read(self, headers: list[str]) -> Caller:
        """The caller; raises TokenMissing, TokenInvalid or KeysUnavailable. `headers` are all Authorization headers."""
        if not headers:
            raise TokenMissing(headers={"WWW-Authenticate": _CHALLENGE})
        scheme, _, token = headers[0].partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer":
            raise TokenMissing("One Authorization header of the form `Bearer <token>` is needed.", headers=_challenge())
        token = token.strip()
        if len(token) > MAX_BYTES or not token.isascii():
            raise invalid("The bearer token is too long.")
        claims = await self._verified(token)
        self._check_times(claims)
        return self._caller(claims)

    async def _verified(self, token: str) -> dict[str, Any]:
        algorithm, kid = _header(token)
        key: Any
        if algorithm == "HS256" and self._secret is not None:
            key = self._secret
        elif algorithm in _KEY_TYPES and self._keys is not None:
            key = await self._keys.find(_KEY_TYPES[algorithm], kid)
        else:
            raise invalid("The bearer token is signed with an algorithm that is not taken.")
        if key is None:
            raise invalid("The bearer token is signed with a key that is not known.")
        try:
            return jwt.decode(token, key, algorithms=[algorithm], registry=_Registry(algorithm)).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise invalid() from None

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._now().timestamp()
        leeway = self._policy.leeway.total_seconds()
        expires = _number(claims, "exp")
        if expires is None:
            raise invalid("The bearer token does not say when it expires.")
        if expires <= now - leeway:
            raise invalid("The bearer token has expired.")
        for claim in ("nbf", "iat"):
            if (_number(claims, claim) or 0) > now + leeway:
                raise invalid("The bearer token is not valid yet.")

    def _caller(self, claims: dict[str, Any]) -> Caller:
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self._policy.issuer or self._policy.audience not in audiences:
            raise invalid("The bearer token is not from the issuer, or not for this service.")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not is_account_id(subject):
            raise invalid("The bearer token names no account.")
        scope = claims.get("scope", "")
        if not isinstance(scope, str):
            raise invalid("The bearer token's scope is not a string.")
        try:
            created_at = created(claims.get("account_created_at"))
        except ValueError:
            raise invalid("The bearer token's account_created_at is not a time.") from None
        return Caller(subject, frozenset(scope.split(" ")[:MAX_SCOPES]) - {""}, created_at)


class Minter:
    """Signs tokens for test mode."""

    def __init__(self, policy: Policy, secret: str, *, now: Callable[[], datetime]) -> None:
        self._policy = policy
        self._key = OctKey.import_key(secret)
        self._now = now

    def mint(self, account_id: str, scope: str, account_created_at: datetime) -> str:
        """A token that is valid for a month of real time."""
        now = int(self._now().timestamp())
        claims = {
            "iss": self._policy.issuer,
            "aud": self._policy.audience,
            "sub": account_id,
            "scope": scope,
            "account_created_at": account_created_at.isoformat(),
            "iat": now,
            "exp": now + int(TEST_LIFETIME.total_seconds()),
        }
        return jwt.encode({"alg": "HS256"}, claims, self._key)


def invalid(detail: str | None = None) -> TokenInvalid:
    """A token that cannot be taken."""
    return TokenInvalid(detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})


def is_account_id(text: str) -> bool:
    """Whether it is 1 to 128 printable ASCII characters."""
    return 0 < len(text) <= MAX_ID and all(" " <= letter <= "~" for letter in text)


def created(value: object) -> datetime | None:
    """When an account was made: RFC 3339 with an offset, or epoch seconds. Raises ValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.utcoffset() is None:
            raise ValueError("a time without an offset names no instant")
        return _in_range(moment)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("neither a text nor a number")  # noqa: TRY004 - the caller tells them apart by nothing
    if not 0 <= value <= _MAX_EPOCH:
        raise ValueError("out of range")
    return datetime.fromtimestamp(value, UTC)


def _in_range(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None


def _challenge() -> dict[str, str]:
    return {"WWW-Authenticate": _CHALLENGE}


def _header(token: str) -> tuple[str, str | None]:
    """The algorithm and the key's id, which nobody has vouched for yet."""
    head, _, rest = token.partition(".")
    if rest.count(".") != 1:
        raise invalid()
    try:
        header = json.loads(shallow(urlsafe_b64decode(head.encode())))
    except ValueError:
        raise invalid() from None
    if not isinstance(header, dict) or not isinstance(header.get("alg"), str):
        raise invalid()
    kid = header.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise invalid()
    return header["alg"], kid


def _number(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate; None where there is none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_EPOCH:
        raise invalid("The bearer token's times are not numbers.")
    return value
