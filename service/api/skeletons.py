"""Route for skeletons: scores a sequence of keypoints that is posted without video."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import RuntimeDep
from service.api.problems import Kind, ProblemError, responses
from service.clips.scorer import ClipScorer
from service.clips.store import QueueFull
from service.clips.uploads import read_document
from service.documents.results import ClipResult
from service.documents.skeletons import SkeletonSequence

router = APIRouter(prefix="/v1/skeletons", tags=["skeletons"])

MAX_BYTES: Final = 32 * 1024**2
"""Most bytes of a body; enough for `MAX_FRAMES` frames with three people each."""

QUEUE_SIZE: Final = 8
_RETRY_AFTER_S: Final = 5

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"The skeletons, at most {MAX_BYTES} bytes.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SkeletonSequence"}}},
    }
}


class SequenceQueue:
    """The queue of posted sequences: one is scored at a time, and few may wait, because they wait in memory."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(1)
        self.waiting = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Take a place in the queue.

        Raises:
            QueueFull: Every place is taken.
        """
        if self.waiting >= QUEUE_SIZE:
            raise QueueFull(f"{self.waiting} sequences of skeletons wait, and no more may")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


def _queue(request: Request) -> SequenceQueue:
    return cast(SequenceQueue, request.app.state.skeletons)


@router.post(
    "",
    summary="Score skeletons",
    response_model=ClipResult,
    response_description="The scores, in the format of a clip's.",
    openapi_extra=_BODY,
    responses=responses(
        Kind.CROSS_ORIGIN,
        Kind.UPLOAD_INCOMPLETE,
        Kind.UPLOAD_STALLED,
        Kind.BODY_TOO_LARGE,
        Kind.QUEUE_FULL,
        Kind.MODELS_UNAVAILABLE,
    ),
)
async def post_skeletons(
    request: Request,
    runtime: RuntimeDep,
    queue: Annotated[SequenceQueue, Depends(_queue)],
    keypoints: Annotated[bool, Query(description="Whether the result has the joints of every person.")] = False,
) -> Response:
    """Score a sequence of skeletons without video, in the same way as clips. Nothing is stored."""
    models = runtime.models.loaded
    if models is None:
        problem = runtime.models.problem
        detail = str(problem) if problem else "the models are being loaded"
        raise ProblemError(Kind.MODELS_UNAVAILABLE, detail, setting=problem.setting if problem else "")
    try:
        with queue.place():
            body = await read_document(request, MAX_BYTES)
            async with queue.turn:
                result = await run_in_threadpool(_score, runtime.clips.scorer(models), body, keypoints)
    except QueueFull as error:
        raise ProblemError(Kind.QUEUE_FULL, str(error), headers={"Retry-After": str(_RETRY_AFTER_S)}) from error
    return Response(result, media_type="application/json")


def _score(scorer: ClipScorer, body: bytes, keypoints: bool) -> bytes:
    try:
        sequence = SkeletonSequence.model_validate_json(body)
    except ValidationError as error:
        # Only the first ten: there may be one error for every number.
        found = error.errors(include_url=False, include_input=False, include_context=False)[:10]
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from error
    return scorer.score_skeletons(sequence, keypoints=keypoints).model_dump_json().encode()
