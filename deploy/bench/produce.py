"""Billing's charges onto the broker, for distribution to find them there: told as one line of JSON."""

import argparse
import asyncio
import itertools
import json

import uvloop
from aiokafka import AIOKafkaProducer

from deploy.bench.charges import charges
from libs.kafka import make_topics
from libs.outbox import topic_of
from protos.distribution.v1.ingestion_pb2 import BillingCharge

TOPIC = topic_of(BillingCharge)
_WINDOW = 2_000


async def _run(options: argparse.Namespace) -> dict[str, float]:
    await make_topics(options.bootstrap, [TOPIC])
    producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap, acks="all", linger_ms=5, max_batch_size=500_000)
    await producer.start()
    made = charges(options.order, options.ahead, options.payers, options.community)
    try:
        for first in range(0, options.count, _WINDOW):
            sent = [
                await producer.send(
                    TOPIC.name,
                    BillingCharge(charge=each).SerializeToString(),
                    key=each.payer_account_id.encode(),
                    partition=number % TOPIC.partitions,
                )
                for number, each in enumerate(itertools.islice(made, min(_WINDOW, options.count - first)))
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return {"sent": options.count}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("count", type=int)
    parser.add_argument("--order", default="time-ordered")
    parser.add_argument("--ahead", type=float, default=0)
    parser.add_argument("--payers", type=int, default=1000)
    parser.add_argument("--community", default="community")
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
