"""What differs between deployments of the gateway."""

import ipaddress
from collections.abc import Mapping
from typing import Self

import environ

from gateway.client import Network
from gateway.limiter import WAIT_SECONDS
from libs.settings import Deployment, Misconfigured, Secret, address, seconds, whole

MIN_SECRET_BYTES = 32


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each) for each in value.replace(",", " ").split())
    except ValueError:
        raise ValueError("must be networks such as 10.0.0.0/8, separated by commas") from None


def _origins(value: str) -> frozenset[str]:
    origins = frozenset(value.replace(",", " ").split())
    if any(not each.startswith(("https://", "http://")) or each.count("/") != 2 for each in origins):  # noqa: PLR2004
        raise ValueError("must be origins such as https://app.example.org, separated by commas")
    return origins


@environ.config(prefix="", frozen=True)
class Settings(Deployment):
    """Every number of the gateway, each with its default."""

    gateway_listen: str = environ.var("127.0.0.1:8080", converter=address)
    jwt_issuer: str = environ.var("")
    jwt_audience: str = environ.var("")
    jwt_jwks_url: str = environ.var("", help="Where the issuer publishes its keys; https, but for test mode.")
    jwt_jwks_file: str = environ.var("", help="Or a file with them.")
    jwt_jwks_max_age_seconds: float = environ.var("300", converter=seconds(1, 86_400))
    jwt_jwks_cooldown_seconds: float = environ.var("10", converter=seconds(0.1, 3600))
    jwt_leeway_seconds: float = environ.var("30", converter=seconds(0, 300))
    jwt_hs256_secret: Secret = environ.var("", converter=Secret, help="Test mode only; made where it is missing.")
    account_calls_per_minute: int = environ.var("300", converter=whole(1, 10_000))
    register_calls_per_minute: int = environ.var("10", converter=whole(1, 10_000))
    register_calls_per_minute_and_address: int = environ.var("60", converter=whole(1, 10_000))
    redis_seconds: float = environ.var(str(WAIT_SECONDS), converter=seconds(0.05, 10), help="What a count may take.")
    trusted_proxies: tuple[Network, ...] = environ.var("", converter=_networks, help="Whose X-Forwarded-For counts.")
    cors_origins: frozenset[str] = environ.var("", converter=_origins)
    body_bytes_max: int = environ.var("65536", converter=whole(1024, 10_000_000))
    body_seconds: float = environ.var("5", converter=seconds(0.1, 60))
    request_seconds: float = environ.var("5", converter=seconds(0.1, 60))
    upload_bytes_max: int = environ.var(str(512 * 2**20), converter=whole(1024, 2**40), help="Files of scores.")
    upload_seconds: float = environ.var("120", converter=seconds(1, 3600))
    idle_seconds: float = environ.var("30", converter=seconds(0.1, 3600))
    connections_max: int = environ.var("2000", converter=whole(1, 100_000))

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Also raises Misconfigured where tokens could not be checked, or could be forged."""
        settings = super().read(environment)
        if settings.jwt_jwks_url and settings.jwt_jwks_file:
            raise Misconfigured("JWT_JWKS_URL and JWT_JWKS_FILE are both set; give one of them.")
        if not settings.redis_url:
            raise Misconfigured("REDIS_URL must be set.")
        if settings.test_mode:
            _check_test_mode(settings)
        else:
            _check_issuer(settings)
        return settings

    @property
    def issuer(self) -> str:
        """Whose tokens are taken."""
        return self.jwt_issuer or "test-mode"

    @property
    def audience(self) -> str:
        """Whom they must be for."""
        return self.jwt_audience or "creator-economy"


def _check_test_mode(settings: Settings) -> None:
    if not settings.dev_clock_file:
        raise Misconfigured("DEV_CLOCK_FILE must be set in test mode.")
    secret = settings.jwt_hs256_secret
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        raise Misconfigured(f"JWT_HS256_SECRET must have at least {MIN_SECRET_BYTES} bytes.")


def _check_issuer(settings: Settings) -> None:
    if settings.jwt_hs256_secret:
        raise Misconfigured("JWT_HS256_SECRET must not be set without TEST_MODE: a shared secret can sign for anybody.")
    if not settings.jwt_issuer or not settings.jwt_audience:
        raise Misconfigured("JWT_ISSUER and JWT_AUDIENCE must be set.")
    if not settings.jwt_jwks_url and not settings.jwt_jwks_file:
        raise Misconfigured("JWT_JWKS_URL or JWT_JWKS_FILE must be set.")
    if settings.jwt_jwks_url and not settings.jwt_jwks_url.startswith("https://"):
        raise Misconfigured("JWT_JWKS_URL must be https.")
