"""Settings from the environment, read once at start; a wrong one ends the process with a sentence that names it.

    @environ.config(prefix="", frozen=True)
    class Settings(Deployment):
        hold_days: int = environ.var("14", converter=whole(0, 365))
        fingerprint_key: Secret = environ.var(converter=Secret)

    settings = Settings.read()

Every variable `X` may be given as `X_FILE` instead: the file that holds it, which is how secrets are mounted. An empty
variable counts as not set.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import attrs
import environ
from environ.exceptions import MissingEnvValueError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
ENVIRONMENTS = ("production", "local", "test")


class Misconfigured(SystemExit):
    """Uncaught, it ends the process: its one sentence on standard error, exit code 1, no trace."""


class Secret(str):
    """A setting that no log and no repr shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"


def flag(value: str) -> bool:
    """Read a switch: 1/true/yes/on or 0/false/no/off."""
    word = value.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be 1 or 0")
    return word in _TRUE


def whole(least: int, most: int) -> Callable[[str], int]:
    """Read a whole number within bounds."""

    def convert(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = most + 1
        if not least <= number <= most:
            raise ValueError(f"must be a whole number between {least} and {most}")
        return number

    return convert


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Read a length of real time in seconds, fractions allowed."""

    def convert(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            raise ValueError(f"must be a number of seconds between {least:g} and {most:g}")
        return number

    return convert


def one_of(*words: str) -> Callable[[str], str]:
    """Read one word of a closed list."""

    def convert(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return convert


def address(value: str) -> str:
    """Read a host:port; empty where none is given."""
    host, separator, port = value.rpartition(":")
    if value and not (host and separator and port.isdecimal() and int(port) < 2**16):
        raise ValueError("must be host:port")
    return value


def database(value: str) -> Secret:
    """Read the address of a database, which holds a password; empty where none is given."""
    if value and not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be postgresql://user:password@host:port/name")
    return Secret(value)


class Settings:
    """The base of every settings class: `read()` builds it from the environment."""

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises Misconfigured, naming the variable that is missing or malformed."""
        given = _with_files(cls, os.environ if environment is None else environment)
        try:
            return environ.to_config(cls, given)
        except MissingEnvValueError as missing:
            names = ", ".join(sorted(str(name) for name in missing.args))
            raise Misconfigured(f"{names} must be set.") from None
        except ValueError as error:
            raise Misconfigured(_complaint(cls, given) or f"{error}.") from None


def _converters(cls: type[Any]) -> dict[str, Any]:
    """Return what converts each variable, by the variable's name."""
    declared = ((field, field.metadata.get("environ_config")) for field in attrs.fields(cls))
    return {entry.name or field.name.upper(): field.converter for field, entry in declared if entry is not None}


def _with_files(cls: type[Any], environment: Mapping[str, str]) -> dict[str, str]:
    given = {name: value for name, value in environment.items() if value}
    for name in _converters(cls):
        path = given.get(f"{name}_FILE")
        if path is None:
            continue
        if name in given:
            raise Misconfigured(f"{name} and {name}_FILE are both set; give one of them.")
        try:
            given[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            raise Misconfigured(f"{name}_FILE cannot be read: {path}: {why}.") from None
        if not given[name]:
            raise Misconfigured(f"{name}_FILE is empty: {path}.")
    return given


def _complaint(cls: type[Any], given: Mapping[str, str]) -> str | None:
    """Say which variable a converter refused; the value is not repeated, it may be a secret."""
    for name, converter in _converters(cls).items():
        if name not in given or converter is None:
            continue
        try:
            converter(given[name])
        except ValueError as error:
            return f"{name} {error}."
    return None


@environ.config(prefix="", frozen=True)
class Deployment(Settings):
    """What every process is told about where it runs; a service's own settings extend it or stand beside it."""

    environment: str = environ.var("production", converter=one_of(*ENVIRONMENTS))
    test_mode: bool = environ.var("0", converter=flag)
    dev_clock_file: str = environ.var("")
    log_level: str = environ.var("INFO", converter=one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    postgres_dsn: Secret = environ.var("", converter=database)
    postgres_pool_max: int = environ.var("10", converter=whole(1, 200))
    kafka_bootstrap: str = environ.var("")
    kafka_idempotent: bool = environ.var("1", converter=flag)
    kafka_replication: int = environ.var("1", converter=whole(1, 9))
    redis_url: Secret = environ.var("", converter=Secret)
    grpc_listen: str = environ.var("127.0.0.1:0", converter=address)
    probes_listen: str = environ.var("127.0.0.1:0", converter=address)
    metrics_listen: str = environ.var("127.0.0.1:0", converter=address)
    grpc_max_concurrent: int = environ.var("1000", converter=whole(1, 100_000))
    drain_wait_seconds: float = environ.var("1", converter=seconds(0, 300))
    drain_grace_seconds: float = environ.var("10", converter=seconds(0, 300))
    start_wait_seconds: float = environ.var("30", converter=seconds(0, 600))
    heads_poll_seconds: float = environ.var("60", converter=seconds(0.05, 86_400))
    referral_address: str = environ.var("", converter=address)
    distribution_address: str = environ.var("", converter=address)
    payout_address: str = environ.var("", converter=address)
    score_address: str = environ.var("", converter=address)
    leaderboard_address: str = environ.var("", converter=address)
    tls_cert_file: str = environ.var("")
    tls_key_file: str = environ.var("")
    tls_ca_file: str = environ.var("")
    otel_exporter_otlp_endpoint: str = environ.var("")

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Also raises Misconfigured where test mode or its clock is asked for in production."""
        settings = super().read(environment)
        if settings.test_mode and settings.environment == "production":
            raise Misconfigured("TEST_MODE must not be set in production; ENVIRONMENT says which this is.")
        if settings.dev_clock_file and not settings.test_mode:
            raise Misconfigured("DEV_CLOCK_FILE must not be set without TEST_MODE.")
        return settings

    @property
    def tls(self) -> bool:
        """Whether this process has a certificate to show and an authority to check others by."""
        return bool(self.tls_cert_file)
