"""A gateway on FastAPI: the contract for all workers of a host.

    pip install mavera-rl fastapi gunicorn uvicorn-worker
    MAVERA_REGION=/dev/shm/gateway MAVERA_PLAN=examples/gateway/plan.toml \\
        gunicorn --workers 4 --worker-class uvicorn_worker.UvicornWorker \\
        --chdir examples fastapi_gateway:app

Each worker opens the region's file, and so they share every limit; so does a
gateway in C that has the same region. API keys and their tiers are the plan's.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request

from mavera_rl import Limiter
from mavera_rl.asgi import RateLimitMiddleware

HERE = Path(__file__).parent
REGION = os.environ.get("MAVERA_REGION", "/dev/shm/mavera-fastapi")
PLAN = os.environ.get("MAVERA_PLAN", HERE / "gateway" / "plan.toml")

app = FastAPI(title="Gateway")
app.add_middleware(RateLimitMiddleware, limiter=Limiter(REGION, plan=PLAN))


@app.get("/mave/chat")
@app.post("/mave/chat")
@app.get("/focus-groups")
@app.get("/video-analyses")
async def work(
    request: Request, delay_ms: Annotated[int, Query(ge=0, le=60_000)] = 0
) -> dict[str, Any]:
    """Takes its time, if it is asked to: what is in flight becomes visible."""
    await asyncio.sleep(delay_ms / 1000)
    decision = request.scope["mavera_rl"]
    return {"worker": os.getpid(), "remaining": decision.remaining}
