"""Operators at the gateway of a running stack."""

from dataclasses import dataclass
from typing import Any

import requests

from gateway.route import Scope
from gateway.routes import PRODUCT
from tests.support.callers import Caller

ALL_SCOPES = " ".join(sorted({route.access.name for route in PRODUCT if isinstance(route.access, Scope)}))


@dataclass
class Operator(Caller):
    """An operator; every act has a reason."""

    scopes: str = ALL_SCOPES
    prefix: str = "/api/admin"

    def post(self, path: str, *, key: str | None = None, **body: Any) -> requests.Response:
        return super().post(path, key=key, **{"reason": "a test"} | body)

    def upload(self, path: str, file: bytes, *, key: str | None = None, **query: Any) -> requests.Response:
        return requests.post(self._url(path), params=query, data=file, headers=self._keyed(key), timeout=60)
