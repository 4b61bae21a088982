"""Hostile tokens. Every one of them is refused the same way, and the key decides which algorithm is taken."""

import base64
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from gateway.keys import CachedKeys, PublicKey, from_file, read_keys
from gateway.problems import KeysUnavailable, TokenInvalid, TokenMissing
from gateway.tokens import MAX_BYTES, Minter, Policy, Tokens, created

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = Policy("https://id.example.org", "creator-economy")
SECRET = "a development secret of more than 32 bytes"

ED25519 = OKPKey.generate_key("Ed25519", {"kid": "ed"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER = OKPKey.generate_key("Ed25519", {"kid": "ed"})
NUMBERS = {"iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 60}
CLAIMS: dict[str, Any] = {"iss": POLICY.issuer, "aud": POLICY.audience, "sub": "alice", "scope": "creator", **NUMBERS}


def jwks(*keys: PublicKey | OctKey) -> bytes:
    return json.dumps({"keys": [dict(key.as_dict(private=isinstance(key, OctKey))) for key in keys]}).encode()


class Issuer:
    """What the issuer publishes, and how often it was asked."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.asked = 0

    async def fetch(self) -> bytes:
        self.asked += 1
        if not self.document:
            raise OSError
        return self.document


def tokens(document: bytes = jwks(ED25519, RSA), secret: str = "", **options: float) -> tuple[Tokens, Issuer]:
    issuer = Issuer(document)
    return Tokens(POLICY, CachedKeys(issuer.fetch, **options), secret, now=lambda: NOW), issuer


def signed(
    key: Any = ED25519, alg: str = "Ed25519", header: dict[str, Any] | None = None, drop: str = "", **claims: Any
) -> str:
    merged = {**CLAIMS, **claims}
    merged.pop(drop, None)
    kid = {} if isinstance(key, OctKey) else {"kid": key.kid}
    return jwt.encode({"alg": alg, **kid, **(header or {})}, merged, key, algorithms=[alg])


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def relabelled(token: str, header: dict[str, Any]) -> str:
    return ".".join([encoded(header), *token.split(".")[1:]])


async def read(token: str, secret: str = "") -> Any:
    return await tokens(secret=secret)[0].read([f"Bearer {token}"])


@pytest.mark.parametrize(("key", "alg"), [(ED25519, "Ed25519"), (RSA, "RS256")])
async def test_a_token_of_the_issuer_is_taken(key: Any, alg: str) -> None:
    caller = await read(signed(key, alg, scope="creator  admin:review", account_created_at="2026-02-28T12:00:00+02:00"))
    assert caller.account_id == "alice"
    assert caller.scopes == {"creator", "admin:review"}
    assert caller.account_created_at == datetime(2026, 2, 28, 10, tzinfo=UTC)


async def test_the_older_name_of_ed25519_is_taken_too() -> None:
    head = encoded({"alg": "EdDSA", "kid": "ed"})
    body = encoded(CLAIMS)
    signature = ED25519.private_key.sign(f"{head}.{body}".encode())  # type: ignore[union-attr]
    assert (await read(f"{head}.{body}.{encoded(signature)}")).account_id == "alice"


async def test_claims_that_may_be_missing() -> None:
    caller = await read(signed(drop="scope", aud=["other", POLICY.audience]))
    assert (caller.scopes, caller.account_created_at) == (frozenset(), None)


def confused() -> str:
    """The RSA public key, taken for a shared secret: signed by hand, because no library would."""
    signed_part = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{encoded(CLAIMS)}"
    return f"{signed_part}.{encoded(hmac.digest(RSA.as_pem(private=False), signed_part.encode(), 'sha256'))}"


HOSTILE = {
    "alg none": encoded({"alg": "none"}) + "." + encoded(CLAIMS) + ".",
    "alg None": encoded({"alg": "None"}) + "." + encoded(CLAIMS) + "." + encoded(b"x"),
    "alg missing": encoded({"typ": "JWT"}) + "." + encoded(CLAIMS) + "." + encoded(b"x"),
    "alg a list": encoded({"alg": ["Ed25519"]}) + "." + encoded(CLAIMS) + "." + encoded(b"x"),
    "alg unknown": encoded({"alg": "XS256"}) + "." + encoded(CLAIMS) + "." + encoded(b"x"),
    "another key": signed(STRANGER),
    "unknown key": signed(STRANGER, header={"kid": "elsewhere"}),
    "kid a number": signed(header={}, drop="").replace(signed().split(".")[0], encoded({"alg": "Ed25519", "kid": 1})),
    "HS256 by a public key": confused(),
    "HS256 outside test mode": jwt.encode({"alg": "HS256"}, CLAIMS, OctKey.import_key(SECRET)),
    "RS256 with an Ed25519 key": relabelled(signed(), {"alg": "RS256", "kid": "ed"}),
    "Ed25519 with an RSA key": relabelled(signed(RSA, "RS256"), {"alg": "Ed25519", "kid": "rsa"}),
    "RS512": signed(RSA, "RS512"),
    "PS256": signed(RSA, "PS256"),
    "its own key in the header": signed(STRANGER, header={"kid": "x", "jwk": STRANGER.as_dict(private=False)}),
    "a key set elsewhere": signed(STRANGER, header={"kid": "x", "jku": "https://evil.example/keys"}),
    "a certificate elsewhere": signed(STRANGER, header={"kid": "x", "x5u": "https://evil.example/cert"}),
    "kid a path": signed(STRANGER, header={"kid": "../../../../dev/null"}),
    "kid an address": signed(STRANGER, header={"kid": "https://evil.example/keys#ed"}),
    "kid a query": signed(STRANGER, header={"kid": "x' UNION SELECT 'ed' --"}),
    "kid a command": signed(STRANGER, header={"kid": "ed; cat /etc/passwd |"}),
    "kid with a NUL": signed(STRANGER, header={"kid": "ed\0"}),
    "kid empty": signed(STRANGER, header={"kid": ""}),
    "kid huge": signed(STRANGER, header={"kid": "x" * 4000}),
    "crit": relabelled(signed(), {"alg": "Ed25519", "kid": "ed", "crit": ["exp"], "exp": 1}),
    "expired": signed(exp=NUMBERS["iat"] - 31),
    "no expiry": signed(drop="exp"),
    "expiry a text": signed(exp="9999999999"),
    "expiry true": signed(exp=True),
    "expiry infinite": signed(exp=float("inf")),
    "expiry negative": signed(exp=-1),
    "not before tomorrow": signed(nbf=NUMBERS["iat"] + 86_400),
    "issued tomorrow": signed(iat=NUMBERS["iat"] + 86_400),
    "another issuer": signed(iss="https://evil.example"),
    "no issuer": signed(drop="iss"),
    "another audience": signed(aud="other"),
    "no audience": signed(drop="aud"),
    "no subject": signed(drop="sub"),
    "empty subject": signed(sub=""),
    "subject a number": signed(sub=7),
    "subject too long": signed(sub="a" * 129),
    "subject not ASCII": signed(sub="älice"),
    "subject with a control character": signed(sub="a\nb"),
    "scope a list": signed(scope=["creator"]),
    "age without an offset": signed(account_created_at="2026-01-01T00:00:00"),
    "age not a time": signed(account_created_at="yesterday"),
    "age out of range": signed(account_created_at=1e300),
    "age at the end of time": signed(account_created_at="9999-12-31T23:59:59-14:00"),
    "oversized": signed(scope="x" * MAX_BYTES),
    "empty": "",
    "garbage": "garbage",
    "dots": "..",
    "four parts": signed() + ".x",
    "five parts": "a.b.c.d.e",
    "not base64": "!!!.???.###",
    "not JSON": encoded(b"{") + "." + encoded(CLAIMS) + "." + encoded(b"x"),
    "header a list": encoded([]) + "." + encoded(CLAIMS) + "." + encoded(b"x"),
    "header nested deeply": encoded(b"[" * 5000) + ".x.x",
    "claims a list": signed().split(".")[0] + ".W10.x",
    "signature cut": signed()[:-4],
    "signature empty": signed().rpartition(".")[0] + ".",
    "claims changed": ".".join(
        [signed().split(".")[0], encoded({**CLAIMS, "sub": "bob"}), signed().split(".")[2]]
    ),
    "not ASCII": "é.é.é",
}  # fmt: skip


@pytest.mark.parametrize("kind", list(HOSTILE))
async def test_a_hostile_token_is_refused(kind: str) -> None:
    with pytest.raises(TokenInvalid) as refused:
        await read(HOSTILE[kind])
    assert refused.value.status == 401
    assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"HS256 outside test mode"}))
async def test_a_hostile_token_is_refused_in_test_mode_too(kind: str) -> None:
    with pytest.raises(TokenInvalid):
        await read(HOSTILE[kind], secret=SECRET)


@pytest.mark.parametrize("headers", [[], ["Basic YTpi"], ["Token x"], ["Bearer a", "Bearer b"], [""]])
async def test_no_bearer_token_is_no_token(headers: list[str]) -> None:
    with pytest.raises(TokenMissing) as refused:
        await tokens()[0].read(headers)
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer realm=")


async def test_the_scheme_is_read_in_any_case() -> None:
    assert (await tokens()[0].read([f"bEARER {signed()}"])).account_id == "alice"


async def test_clocks_may_differ_by_half_a_minute() -> None:
    assert (await read(signed(exp=NUMBERS["iat"] - 29, nbf=NUMBERS["iat"] + 29))).account_id == "alice"


async def test_test_mode_takes_its_own_tokens_but_no_other_secret() -> None:
    token = Minter(POLICY, SECRET, now=lambda: NOW).mint("bob", "a b", NOW - timedelta(days=1))
    caller = await read(token, secret=SECRET)
    assert (caller.account_id, caller.scopes, caller.account_created_at) == ("bob", {"a", "b"}, NOW - timedelta(days=1))
    with pytest.raises(TokenInvalid):
        await read(token, secret="another development secret of 32 bytes")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1.5, datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:00.25+01:00", datetime(2025, 12, 31, 23, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_an_accounts_age_is_rfc_3339_or_epoch_seconds(value: object, expected: datetime | None) -> None:
    assert created(value) == expected


@pytest.mark.parametrize("value", [True, [], {}, -1, float("nan"), float("inf"), "", "2026-13-01T00:00:00Z", "1e9"])
def test_nothing_else_is_an_age(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of them will do
        created(value)


async def test_keys_are_fetched_once() -> None:
    checker, issuer = tokens()
    for _ in range(5):
        await checker.read([f"Bearer {signed()}"])
    assert issuer.asked == 1


async def test_a_rotated_key_is_found_and_strangers_do_not_make_us_ask_again() -> None:
    checker, issuer = tokens(jwks(RSA), cooldown=0.05)
    fresh = OKPKey.generate_key("Ed25519", {"kid": "new"})
    await checker.read([f"Bearer {signed(RSA, 'RS256')}"])
    issuer.document = jwks(RSA, fresh)
    for _ in range(20):
        with pytest.raises(TokenInvalid):
            await checker.read([f"Bearer {signed(fresh)}"])
    assert issuer.asked == 1  # within the cooldown
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert (await checker.read([f"Bearer {signed(fresh)}"])).account_id == "alice"
            break
        except TokenInvalid:
            continue
    assert issuer.asked == 2


async def test_keys_are_kept_while_the_issuer_is_down() -> None:
    checker, issuer = tokens(max_age=0, cooldown=0)
    await checker.read([f"Bearer {signed()}"])
    issuer.document = b""
    assert (await checker.read([f"Bearer {signed()}"])).account_id == "alice"
    assert issuer.asked > 1


async def test_without_any_keys_tokens_cannot_be_checked() -> None:
    checker, _ = tokens(b"")
    with pytest.raises(KeysUnavailable) as refused:
        await checker.read([f"Bearer {signed()}"])
    assert refused.value.headers["Retry-After"] == "1"


async def test_a_token_without_a_key_id_needs_the_only_key_of_its_kind() -> None:
    token = jwt.encode({"alg": "Ed25519"}, CLAIMS, ED25519, algorithms=["Ed25519"])
    assert (await tokens(jwks(ED25519, RSA))[0].read([f"Bearer {token}"])).account_id == "alice"
    other = OKPKey.generate_key("Ed25519", {"kid": "other"})
    with pytest.raises(TokenInvalid):
        await tokens(jwks(ED25519, other))[0].read([f"Bearer {token}"])


def test_shared_secrets_weak_keys_and_encryption_keys_are_left_out_of_a_key_set() -> None:
    number = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n  # noqa: S505 - that is the point
    weak = {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": encoded(number.to_bytes(128))}
    crypt = {**OKPKey.generate_key("Ed25519", {"kid": "enc"}).as_dict(private=False), "use": "enc"}
    document = {
        "keys": [
            OctKey.generate_key(256).as_dict(),
            weak,
            crypt,
            OKPKey.generate_key("X25519").as_dict(private=False),
            {"kty": "RSA", "n": "!", "e": "AQAB"},
            {"kty": "OKP", "crv": "Ed25519"},
            "nonsense",
            ED25519.as_dict(private=True),
        ]
    }
    keys = read_keys(json.dumps(document).encode())
    assert [key.kid for key in keys] == ["ed"]
    assert not keys[0].is_private


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b"\xff", b" " * 300_000])
def test_what_is_no_key_set_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of them will do
        read_keys(raw)


async def test_keys_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(ED25519))
    keys = CachedKeys(from_file(str(path)))
    found = await keys.find("OKP", "ed")
    assert found is not None
    assert found.kid == "ed"
