"""A caller that asks for more than it may, and is never refused.

    python examples/fastapi_client.py URL API_KEY REQUESTS

Ten tasks share one transport, which learns the limit from the first answer,
paces the rest, and would wait for ``Retry-After`` if it were refused after all.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import sys

import httpx
from mavera_rl.client.httpx import AsyncTransport

TASKS = 10


async def ask(url: str, key: str, requests: int) -> collections.Counter[int]:
    """The statuses of so many requests."""
    statuses: collections.Counter[int] = collections.Counter()
    left = iter(range(requests))

    async def caller(client: httpx.AsyncClient) -> None:
        for _ in left:
            response = await client.get(url, headers={"X-API-Key": key})
            statuses[response.status_code] += 1

    async with httpx.AsyncClient(transport=AsyncTransport(), timeout=60) as client:
        await asyncio.gather(*(caller(client) for _ in range(TASKS)))
    return statuses


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    url, key, requests = sys.argv[1:]
    statuses = asyncio.run(ask(url, key, int(requests)))
    print(", ".join(f"{count} times {status}" for status, count in statuses.items()))
    sys.exit(set(statuses) != {200})
