"""The web application: routes, middleware and documentation; it starts and stops the runtime behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from service.api import calibration, cameras, clips, incidents, keys, login, notifications, problems, skeletons, system
from service.api.authentication import Authentication, Guard
from service.api.documents import ClipAddress
from service.api.middleware import (
    HeadOfGet,
    KnownHost,
    LingeringClose,
    PlainAddress,
    SafeHeaders,
    SameOrigin,
    SmallBodies,
    StreamEnds,
    StreamsOnly,
)
from service.clips.messages import ClipFinished, clip_event_adapter
from service.documents.skeletons import SkeletonSequence
from service.runtime import Runtime
from service.settings import Auth, Role

_SCHEMAS: Final = "#/components/schemas/{model}"

_DESCRIPTION: Final = """\
Anomaly scores for people in video: YOLO-pose finds skeletons, a tracker follows them, DA-Flow scores how unusually
they move.

Post a video, or its address, to `/v1/clips` and fetch its scores, or follow them frame by frame on the WebSocket
`/v1/clips/{clip_id}/events`, whose text messages have the schema `ClipEvent`. It closes with code 4404 if there is no
such clip. With a `callback_url`, the service posts to it when the clip has finished.

Add a camera with `PUT /v1/cameras/{camera_id}` and follow its scores on the WebSocket
`/v1/cameras/{camera_id}/scores`, or the incidents of all cameras on the WebSocket `/v1/incidents` and as server-sent
events on `/v1/incidents/stream`. [`/v1/asyncapi.json`](/v1/asyncapi.json) describes every message.

If the service requires keys, send `Authorization: Bearer <key>`. A WebSocket may also send
`{"type": "authenticate", "key": "<key>"}` as its first message, or offer the subprotocols `daflow` and
`daflow.ticket.<ticket>` with a ticket from `/v1/tickets`. A browser logs in with `POST /v1/session`.

Errors are RFC 9457 problem documents.
"""

_TAGS: Final = [
    {"name": "clips", "description": "Video files: post, follow, fetch scores."},
    {"name": "cameras", "description": "Live cameras: add, view, follow their scores, calibrate."},
    {"name": "incidents", "description": "Incidents: history, evidence, feedback, and a live stream."},
    {"name": "notifications", "description": "Events that the webhook has not accepted yet."},
    {"name": "skeletons", "description": "Score keypoints instead of video, so that pictures never leave the device."},
    {"name": "keys", "description": "API keys, sessions, tickets, and the log of changes."},
    {"name": "system", "description": "Health, metrics, and explanations of problems."},
]


def create_app(runtime: Runtime) -> FastAPI:
    """Build the application around an open runtime.

    The application starts the runtime when it starts, and stops and closes it when it ends. The caller cannot do that:
    a server that is stopped by a signal may never return to it.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        runtime.start()
        try:
            yield
        finally:
            await run_in_threadpool(runtime.stop)
            await run_in_threadpool(runtime.close)

    app = FastAPI(
        title="DA-Flow Live",
        version=version("daflow-live"),
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        license_info={"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Generated clients name their functions by these.
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.runtime = runtime
    app.state.closing = asyncio.Event()
    app.state.checks = system.Checks()
    app.state.skeletons = skeletons.SequenceQueue()
    app.add_middleware(SmallBodies, streamed=frozenset({clips.router.prefix, skeletons.router.prefix}))
    if runtime.settings.role is Role.API:
        app.add_middleware(StreamsOnly)
    guard = Guard(
        authenticated=runtime.settings.authenticated,
        keys=runtime.keys,
        limits=runtime.limits,
        camera_of=lambda incident_id: runtime.streams.incidents.get(incident_id).camera,
    )
    app.add_middleware(Authentication, router=app.router, guard=guard)
    app.add_middleware(PlainAddress)
    app.add_middleware(SameOrigin)
    # With keys this check is not needed: a page that gives its own name this machine's address has no key.
    if runtime.settings.auth is Auth.AUTO and not runtime.settings.authenticated:
        app.add_middleware(KnownHost, host=runtime.settings.host)
    app.add_middleware(LingeringClose)
    app.add_middleware(SafeHeaders)
    app.add_middleware(StreamEnds, closing=app.state.closing)
    app.add_middleware(HeadOfGet)
    problems.install(app)
    for module in (clips, cameras, calibration, incidents, notifications, skeletons, keys):
        app.include_router(module.router)
    app.include_router(system.router)
    app.include_router(login.router)
    _document(app)
    _serve_docs(app)
    return app


def _document(app: FastAPI) -> None:
    """Add the schemas that FastAPI does not find in any route: problems, messages of clips, what is posted."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = generate()["components"]["schemas"]
            for name, schema in (
                ("Problem", problems.Problem.model_json_schema()),
                ("ClipAddress", ClipAddress.model_json_schema(ref_template=_SCHEMAS)),
                ("ClipFinished", ClipFinished.model_json_schema(ref_template=_SCHEMAS)),
                ("ClipEvent", clip_event_adapter.json_schema(ref_template=_SCHEMAS)),
                ("SkeletonSequence", SkeletonSequence.model_json_schema(ref_template=_SCHEMAS)),
            ):
                schemas.update(schema.pop("$defs", {}))
                schemas[name] = schema
            _leave_out_items(generate())
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _leave_out_items(document: dict[str, Any]) -> None:
    """Describe streams of events as text: `itemSchema`, which FastAPI writes, came with OpenAPI 3.2."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    if content.pop("itemSchema", None) is not None:
                        content["schema"] = {"type": "string", "description": "Server-sent events."}


def _serve_docs(app: FastAPI) -> None:
    """Serve Swagger UI from an installed package, so that it works without the internet."""
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon-32x32.png",
        )
