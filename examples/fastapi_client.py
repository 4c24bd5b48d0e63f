"""A caller that asks for more than it may, and is never refused.

    python examples/fastapi_client.py URL API_KEY REQUESTS [WINDOW]

Ten tasks share one transport, which learns the limit from the first answers and
paces the rest; whoever is refused before that waits for ``Retry-After``. The
window's length in seconds is not in the headers; it is 60 if it is not said.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import sys

import httpx

from mavera_rl.client.httpx import AsyncTransport

TASKS = 10


async def ask(
    url: str, key: str, requests: int, window: float
) -> collections.Counter[int]:
    """The statuses of so many requests."""
    statuses: collections.Counter[int] = collections.Counter()
    left = iter(range(requests))

    async def caller(client: httpx.AsyncClient) -> None:
        for _ in left:
            response = await client.get(url, headers={"X-API-Key": key})
            statuses[response.status_code] += 1

    transport = AsyncTransport(window=window)
    async with httpx.AsyncClient(transport=transport, timeout=60) as client:
        await asyncio.gather(*(caller(client) for _ in range(TASKS)))
    return statuses


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    url, key, requests = sys.argv[1:4]
    window = float(sys.argv[4]) if len(sys.argv) > 4 else 60.0
    statuses = asyncio.run(ask(url, key, int(requests), window))
    print(", ".join(f"{count} times {status}" for status, count in statuses.items()))
    sys.exit(set(statuses) != {200})
