from pathlib import Path

import pytest

from gateway.settings import Settings
from libs.settings import Misconfigured
from tests.support.gateways import environment

PRODUCTION = {
    "REDIS_URL": "redis://cache:6379/0",
    "JWT_ISSUER": "https://id.example.org",
    "JWT_AUDIENCE": "creator-economy",
    "JWT_JWKS_URL": "https://id.example.org/jwks.json",
}


def test_production_needs_no_more_than_an_issuer_and_redis() -> None:
    settings = Settings.read(PRODUCTION)
    assert (settings.issuer, settings.audience) == ("https://id.example.org", "creator-economy")
    assert not settings.test_mode
    assert settings.trusted_proxies == ()
    assert settings.cors_origins == frozenset()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"TEST_MODE": "1"}, "TEST_MODE"),
        ({"DEV_CLOCK_FILE": "clock"}, "DEV_CLOCK_FILE"),
        ({"JWT_HS256_SECRET": "x" * 40}, "JWT_HS256_SECRET"),
        ({"JWT_ISSUER": ""}, "JWT_ISSUER"),
        ({"JWT_AUDIENCE": ""}, "JWT_AUDIENCE"),
        ({"JWT_JWKS_URL": ""}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "http://id.example.org/jwks.json"}, "https"),
        ({"JWT_JWKS_FILE": "keys.json"}, "JWT_JWKS_FILE"),
        ({"REDIS_URL": ""}, "REDIS_URL"),
        ({"TRUSTED_PROXIES": "10.0.0.0/33"}, "TRUSTED_PROXIES"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://a.example/path"}, "CORS_ORIGINS"),
        ({"GATEWAY_LISTEN": "8080"}, "GATEWAY_LISTEN"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, str], complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        Settings.read(PRODUCTION | change)


@pytest.mark.parametrize(
    ("change", "complaint"), [({"DEV_CLOCK_FILE": ""}, "DEV_CLOCK_FILE"), ({"JWT_HS256_SECRET": "short"}, "32 bytes")]
)
def test_test_mode_needs_a_clock_and_a_long_secret(change: dict[str, str], complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        Settings.read(environment(Path("clock"), "redis://127.0.0.1:1/0") | change)


def test_lists_are_read() -> None:
    settings = Settings.read(
        PRODUCTION | {"TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8", "CORS_ORIGINS": "https://a.example"}
    )
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert settings.cors_origins == {"https://a.example"}
