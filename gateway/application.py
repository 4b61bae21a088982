"""The parts put together: from settings to something that listens."""

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Self

import aiohttp
import grpc.aio
from aiohttp import web

from gateway import docs, openapi
from gateway.client import LOOPBACK
from gateway.door import Door
from gateway.endpoint import Bounds, Gate, endpoint
from gateway.keys import CachedKeys, from_file, from_url
from gateway.limiter import Limiter, Quota, open_redis
from gateway.listener import Listener, Patience
from gateway.readiness import Dependencies, serving
from gateway.room import Room, Services, TestMode
from gateway.route import CLOSED, Limited, Route
from gateway.routes import routes
from gateway.settings import Settings
from gateway.tokens import Minter, Policy, Tokens
from libs import rpc
from libs.clock import MovableClock, SystemClock
from libs.settings import Misconfigured

SERVICES = ("referral", "distribution", "payout", "score", "leaderboard")


class Gateway:
    """The gateway, listening from `open` to `close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = (settings.jwt_hs256_secret or secrets.token_urlsafe(32)) if settings.test_mode else ""
        self._closing = AsyncExitStack()
        self._dependencies = Dependencies({})
        self._listener: Listener | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Wire and listen. Nothing that is asked later must answer yet. Raises Misconfigured."""
        settings = self._settings
        channels = {name: self._channel(name) for name in SERVICES}
        limiter = self._limiter()
        self._dependencies.checks = {
            **{name: serving(channel) for name, channel in channels.items()},
            "redis": limiter.answers,
        }
        declared = routes(test_mode=settings.test_mode)
        test_mode = self._test_mode() if settings.test_mode else None
        room = Room(
            services=Services.over(channels),
            dependencies=self._dependencies,
            pages=_pages(declared),
            test_mode=test_mode,
        )
        trusted = settings.trusted_proxies + (LOOPBACK if settings.test_mode else ())
        gate = Gate(room, self._tokens(), limiter, self._bounds(), trusted)
        await self._listen(application(declared, gate), gate)

    async def close(self) -> None:
        """Finish what is being answered, then let go of everything."""
        await self._closing.aclose()

    async def drain(self) -> None:
        """Say that it is about to stop, so that balancers turn away, then close."""
        self._dependencies.draining = True
        await asyncio.sleep(self._settings.drain_wait_seconds)
        await self.close()

    def _channel(self, name: str) -> grpc.aio.Channel:
        address: str = getattr(self._settings, f"{name}_address")
        if not address:
            raise Misconfigured(f"{name.upper()}_ADDRESS must be set.")
        tls = rpc.Tls.read(self._settings)
        if tls is None and not self._settings.test_mode:
            raise Misconfigured("TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE must be set: only test mode goes without.")
        wait_seconds = self._settings.request_seconds
        channel = rpc.channel(address, caller="gateway", tls=tls, service=name, wait_seconds=wait_seconds)
        self._closing.push_async_callback(channel.close)
        return channel

    def _limiter(self) -> Limiter:
        settings = self._settings
        try:
            redis = open_redis(settings.redis_url, settings.redis_seconds)
        except ValueError:
            raise Misconfigured("REDIS_URL is not an address of a Redis.") from None
        self._closing.push_async_callback(redis.aclose)
        account = Quota("account", "account", settings.account_calls_per_minute)
        quotas = {
            Limited.STANDARD: (account,),
            Limited.PAYOUT: (account,),
            Limited.REGISTER: (
                Quota("register", "account", settings.register_calls_per_minute),
                Quota("register-address", "address", settings.register_calls_per_minute_and_address),
            ),
        }
        return Limiter(redis, quotas, closed=CLOSED, wait_seconds=settings.redis_seconds)

    def _test_mode(self) -> TestMode:
        try:
            clock = MovableClock(self._settings.dev_clock_file)
        except (OSError, ValueError) as error:
            raise Misconfigured(f"DEV_CLOCK_FILE cannot be used: {error}.") from None
        return TestMode(Minter(self._policy(), self._secret, now=SystemClock().now), clock)

    def _tokens(self) -> Tokens:
        return Tokens(self._policy(), self._keys(), self._secret, now=SystemClock().now)

    def _policy(self) -> Policy:
        settings = self._settings
        return Policy(settings.issuer, settings.audience, timedelta(seconds=settings.jwt_leeway_seconds))

    def _keys(self) -> CachedKeys | None:
        settings = self._settings
        bounds = {"max_age": settings.jwt_jwks_max_age_seconds, "cooldown": settings.jwt_jwks_cooldown_seconds}
        if settings.jwt_jwks_file:
            return CachedKeys(from_file(settings.jwt_jwks_file), **bounds)
        if settings.jwt_jwks_url:
            http = aiohttp.ClientSession()
            self._closing.push_async_callback(http.close)
            return CachedKeys(from_url(http, settings.jwt_jwks_url), **bounds)
        return None

    def _bounds(self) -> Bounds:
        settings = self._settings
        return Bounds(
            settings.body_bytes_max,
            settings.body_seconds,
            settings.request_seconds,
            settings.upload_bytes_max,
            settings.upload_seconds,
        )

    async def _listen(self, app: web.Application, gate: Gate) -> None:
        settings = self._settings
        door = Door(gate, settings.cors_origins, hsts=settings.environment == "production")
        patience = Patience(settings.idle_seconds, settings.connections_max, settings.drain_grace_seconds)
        listener = Listener(app, door, patience)
        self._closing.push_async_callback(listener.drain)
        await listener.start(settings.gateway_listen)
        self.port = listener.port


def application(declared: Iterable[Route], gate: Gate) -> web.Application:
    """The aiohttp application of these routes."""
    app = web.Application(client_max_size=gate.bounds.body_bytes)
    resources: dict[str, web.Resource] = {}
    for route in declared:
        resource = resources.get(route.path) or app.router.add_resource(route.path, name=f"r{len(resources)}")
        resources[route.path] = resource
        resource.add_route(route.method, endpoint(route, gate))
    return app


def _pages(declared: tuple[Route, ...]) -> dict[str, bytes]:
    """What is served as it was made at start."""
    document = openapi.document(declared)
    return {"/openapi.json": openapi.render(document), "/docs": docs.render(document)}
