"""django-hordak doing the same work: told as one line of JSON. It runs in a venv of its own, without anything of ours.

A charge is a transaction with the charge's id as its unique uuid, and five legs on accounts that everybody moves. What
it does not do: fingerprints, attribution, earnings, events, balances kept (a balance is a sum over legs).
"""

import argparse
import json
import multiprocessing
import time
import uuid
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

PROCESSES = 4
_COMMUNITIES = 20
_CREATORS = 100
_REFERRED_EACH = 4


def configure(dsn: str) -> None:
    import django
    from django.conf import settings

    where = urlsplit(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": where.path.lstrip("/"),
        "USER": where.username,
        "PASSWORD": where.password,
        "HOST": where.hostname,
        "PORT": where.port,
        "CONN_MAX_AGE": None,
    }
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "mptt", "djmoney", "hordak"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        DEFAULT_CURRENCY="USD",
        CURRENCIES=["USD"],
        HORDAK_DECIMAL_PLACES=6,
        HORDAK_MAX_DIGITS=20,
    )
    django.setup()


def prepare() -> None:
    from django.core.management import call_command
    from hordak.models import Account, AccountType

    call_command("migrate", verbosity=0)
    names = ["receipts", "commons", "foundation"]
    names += [f"community-{number}" for number in range(_COMMUNITIES)]
    names += [f"creator-{number}" for number in range(_CREATORS)]
    for name in names:
        kind = AccountType.asset if name == "receipts" else AccountType.liability
        Account.objects.create(name=name, type=kind, currencies=["USD"])


def write(dsn: str, seconds: float, number: int, told: Any) -> None:
    configure(dsn)
    from django.db import transaction
    from hordak.models import Account, Leg, Transaction
    from moneyed import Money

    accounts = {account.name: account for account in Account.objects.all()}
    shares = ("0.010000", "0.004500", "0.063000", "0.022500")
    began = time.monotonic()
    written = number
    while time.monotonic() < began + seconds:
        creator = f"creator-{written % _CREATORS}" if written % _REFERRED_EACH == 0 else "foundation"
        names = (creator, "commons", f"community-{written % _COMMUNITIES}", "foundation")
        with transaction.atomic():
            one = Transaction.objects.create(uuid=uuid.uuid4(), description=f"charge {written}")
            legs = [Leg(transaction=one, account=accounts["receipts"], debit=Money(Decimal("0.100000"), "USD"))]
            legs += [
                Leg(transaction=one, account=accounts[name], credit=Money(Decimal(share), "USD"))
                for name, share in zip(names, shares, strict=True)
            ]
            Leg.objects.bulk_create(legs)
        written += 1
    told.put((written - number) / (time.monotonic() - began))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    preparing = spawn.Process(target=prepared, args=(options.dsn,))
    preparing.start()
    preparing.join()
    if preparing.exitcode:
        raise SystemExit("its tables could not be made")
    told: Any = spawn.Queue()
    writers = [
        spawn.Process(target=write, args=(options.dsn, options.seconds, number * 1_000_000, told))
        for number in range(PROCESSES)
    ]
    for writer in writers:
        writer.start()
    rates = [told.get(timeout=options.seconds + 60) for _ in writers]
    for writer in writers:
        writer.join()
    print(json.dumps({"rate": sum(rates)}))


def prepared(dsn: str) -> None:
    configure(dsn)
    prepare()


if __name__ == "__main__":
    main()
