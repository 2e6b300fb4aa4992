"""Routes for operations: health, readiness, metrics, and explanations of problems."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from service.api.asyncapi import asyncapi
from service.api.dependencies import RuntimeDep
from service.api.documents import Alive, Degraded, ProblemKind, Ready
from service.api.problems import Kind, ProblemError, media, responses
from service.notifications.notifier import CHANNEL
from service.runtime import Runtime

router = APIRouter(tags=["system"])

Check = Callable[[Runtime], dict[str, str] | None]
"""Looks at one part of the service; returns what is missing, with the setting that fixes it."""


@router.get("/healthz", summary="Check that the process runs", responses=responses())
async def healthz() -> Alive:
    """The process is running. Whether it can work is shown by `/readyz`."""
    return Alive()


@router.get("/readyz", summary="Check that the service is ready", responses=responses(Kind.NOT_READY))
async def readyz(request: Request, runtime: RuntimeDep) -> Ready:
    """Clips and cameras can be scored and stored; if not, the answer lists what is missing and which setting fixes it.

    A process that runs no cameras is ready when its database is. A backend that does not work (Redis, webhook, MQTT)
    is listed as `degraded`, and the service is ready without it. The answer comes within a second: a database or a
    data folder that takes longer is missing.
    """
    checks = (_database, _log) if runtime.lease is None else (_models, _database, _folder, _engine, _log)
    results = await request.app.state.checks.run(checks, runtime)
    missing = [found for found in results if found]
    models = runtime.models.loaded
    if missing or (models is None and runtime.lease is not None):
        detail = "; ".join(item["detail"] for item in missing)
        raise ProblemError(Kind.NOT_READY, detail, missing=missing)
    degraded = [
        Degraded(what=name, setting=_setting_of(name), detail=problem)
        for name, problem in runtime.problems.items()
        if problem is not None
    ]
    if models is None:
        return Ready(model=None, threshold=None, degraded=degraded)
    return Ready(model=models.info, threshold=models.threshold, degraded=degraded)


def _setting_of(backend: str) -> str:
    return "DAFLOW_CHANNELS_FILE" if backend.startswith(CHANNEL) else f"DAFLOW_{backend.upper()}_URL"


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses=media("text/plain", "Metrics in Prometheus' text format.") | responses(),
)
def metrics(runtime: RuntimeDep) -> Response:
    """All metrics of this process: clips, cameras, live loop, subscribers, backends and notifications."""
    return Response(generate_latest(runtime.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/asyncapi.json", summary="Get the AsyncAPI document", responses=responses())
async def describe_streams(request: Request) -> dict[str, Any]:
    """AsyncAPI 3.0: every WebSocket and event stream, and every message on it."""
    app = request.app
    return asyncapi(app.title, app.version, request.url.netloc, secure=request.url.scheme == "https")


@router.get("/problems/{slug}", summary="Explain a problem", responses=responses(Kind.NOT_FOUND))
async def explain_problem(
    slug: Annotated[str, PathParameter(description="Last part of the `type`.", examples=["queue-full"])],
) -> ProblemKind:
    """What the `type` of a problem document means."""
    for kind in Kind:
        if kind.slug == slug:
            return ProblemKind(type=kind.type, title=kind.title, status=kind.status, description=kind.description)
    raise ProblemError(Kind.NOT_FOUND, f"there is no kind of problem with the name {slug}")


class Checks:
    """Runs the checks of `/readyz`, each in a thread of its own, and waits for none longer than `LIMIT_S`.

    A check that hangs goes on, and the requests that come meanwhile wait for the same one.
    """

    LIMIT_S: Final = 0.7

    def __init__(self) -> None:
        self._running: dict[Check, Future[dict[str, str] | None]] = {}

    async def run(self, checks: Sequence[Check], runtime: Runtime) -> list[dict[str, str] | None]:
        """What each check found missing; call it on the event loop."""
        running = [self._start(check, runtime) for check in checks]
        await asyncio.wait([asyncio.wrap_future(future) for future in running], timeout=self.LIMIT_S)
        return [
            future.result() if future.done() else _SLOW.get(check)
            for check, future in zip(checks, running, strict=True)
        ]

    def _start(self, check: Check, runtime: Runtime) -> Future[dict[str, str] | None]:
        future = self._running.get(check)
        if future is None or future.done():
            future = self._running[check] = Future()
            Thread(target=_fulfil, args=(future, check, runtime), name="check", daemon=True).start()
        return future


def _fulfil(future: Future[dict[str, str] | None], check: Check, runtime: Runtime) -> None:
    try:
        future.set_result(check(runtime))
    except Exception as error:
        future.set_exception(error)


def _models(runtime: Runtime) -> dict[str, str] | None:
    problem = runtime.models.problem
    if problem is not None:
        return {"what": "models", "setting": problem.setting, "detail": str(problem)}
    if runtime.models.loaded is None:
        return {"what": "models", "setting": "", "detail": "the models are being loaded"}
    return None


def _database(runtime: Runtime) -> dict[str, str] | None:
    try:
        runtime.clips.store.database.check_writable()
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", error)
        return {"what": "database", "setting": "DAFLOW_DATABASE_URL", "detail": f"database not writable: {reason}"}
    return None


def _folder(runtime: Runtime) -> dict[str, str] | None:
    try:
        runtime.folder.check_writable()
    except OSError as error:
        reason = error.strerror or str(error)
        return {"what": "data folder", "setting": "DAFLOW_DATA_DIR", "detail": f"data folder not writable: {reason}"}
    return None


def _engine(runtime: Runtime) -> dict[str, str] | None:
    problem = runtime.cameras.engine.problem
    return {"what": "live cameras", "setting": "DAFLOW_DEVICE", "detail": problem} if problem else None


def _log(runtime: Runtime) -> dict[str, str] | None:
    problem = runtime.streams.log.problem
    return {"what": "incidents", "setting": "DAFLOW_DATABASE_URL", "detail": problem} if problem else None


_SLOW: Final[Mapping[Check, dict[str, str]]] = {
    _database: {
        "what": "database",
        "setting": "DAFLOW_DATABASE_URL",
        "detail": "database not writable: it does not answer, or another program has locked it",
    },
    _folder: {
        "what": "data folder",
        "setting": "DAFLOW_DATA_DIR",
        "detail": "data folder not writable: the disk does not answer",
    },
}
"""What is said of a check that takes too long; the others only look at memory."""
