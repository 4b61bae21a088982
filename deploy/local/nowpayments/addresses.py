"""What looks like an address of a currency to the provider."""

import re
from collections.abc import Mapping
from typing import Final

_EVM: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_TRON: Final = re.compile(r"T[1-9A-HJ-NP-Za-km-z]{33}")
_XRP: Final = re.compile(r"r[1-9A-HJ-NP-Za-km-z]{24,34}")
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "usdttrc20": _TRON,
    "trx": _TRON,
    "xrp": _XRP,
    "usdterc20": _EVM,
    "usdcmatic": _EVM,
    "usdcbase": _EVM,
    "eth": _EVM,
}


def fits(address: str, currency: str) -> bool:
    return bool(_FORMS[currency].fullmatch(address))
