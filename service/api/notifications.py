"""Routes for notifications: list what the webhook has not accepted, and retry it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.api.dependencies import Cursor, RuntimeDep
from service.api.documents import DeliveryInfo, DeliveryPage, delivery_document
from service.api.problems import Kind, responses
from service.notifications.store import DeliveryState

router = APIRouter(prefix="/v1/notifications", tags=["notifications"])

_DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Id of the delivery.", examples=[12])]


@router.get("", summary="List what was not delivered", responses=responses())
def list_deliveries(
    runtime: RuntimeDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most deliveries on the page.")] = 50,
    cursor: Cursor = None,
    state: Annotated[
        DeliveryState | None,
        Query(description="Only deliveries that will be tried again (`pending`) or were given up (`dead`)."),
    ] = None,
) -> DeliveryPage:
    """Events that the webhook has not accepted, newest first."""
    found, before = runtime.notifications.page(limit=limit, before=int(cursor) if cursor else None, state=state)
    return DeliveryPage(
        deliveries=[delivery_document(delivery) for delivery in found], next=None if before is None else str(before)
    )


@router.post(
    "/{delivery_id}/retry",
    summary="Retry a delivery",
    responses=responses(Kind.CROSS_ORIGIN, Kind.DELIVERY_NOT_FOUND),
)
def retry_delivery(runtime: RuntimeDep, delivery_id: _DeliveryId) -> DeliveryInfo:
    """Try a delivery now, and count its attempts from zero again."""
    delivery = runtime.notifications.retry(delivery_id)
    runtime.notifier.wake()
    return delivery_document(delivery)
