"""The start page and the login page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse

from service.api.browsers import page_policy

PAGES: Final = "/dashboard"
"""Path of all other pages."""

LOGIN: Final = "/login"

_PAGE: Final = (Path(__file__).parent.parent / "dashboard" / "login.html").read_text(encoding="utf-8")
_POLICY: Final = page_policy(_PAGE)

router = APIRouter(include_in_schema=False)


@router.get("/")
async def start() -> RedirectResponse:
    """Redirect to the dashboard."""
    return RedirectResponse(f"{PAGES}/")


@router.get(LOGIN)
async def log_in_page() -> HTMLResponse:
    """The page on which an operator logs in with a key."""
    return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY, "cache-control": "no-store"})
