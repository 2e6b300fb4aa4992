"""What all views share: the head of the page, the way between views, news of incidents, and errors in plain words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nicegui import ui
from nicegui.element import Element

from service.dashboard.visitor import Refused
from service.dashboard.watch import Watch
from service.documents.messages import IncidentInfo

_STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_VIEWS: Final = (
    ("Wall", "/", "grid_view"),
    ("Incidents", "/incidents", "notifications_none"),
    ("Clips", "/clips", "movie"),
    ("System", "/system", "monitor_heart"),
)
# Before anything is drawn, so that nobody who chose dark sees white first.
_THEME: Final = "<script>document.documentElement.dataset.theme = localStorage.getItem('theme') || 'auto'</script>"
_DEMO: Final = "This is the demo: its cameras show a simulated world, and its models know nothing of real people"


class ThemeButton(Element, component="components/theme.js"):
    """Goes from the system's colours to dark to light; the browser remembers."""


class Moment(Element, component="components/moment.js"):
    """A time in the viewer's zone.

    Args:
        at: ISO 8601, or None for a dash.
        style: `time`, `full` or `ago`.
    """

    def __init__(self, at: str | None, style: str = "full") -> None:
        super().__init__()
        self._props["at"] = at
        self._props["format"] = style


@contextmanager
def frame(title: str, watch: Watch) -> Iterator[None]:
    """The page around a view.

    Args:
        title: Name of the view, one of those in the navigation or a part of one.
        watch: Says what is open.
    """
    ui.add_head_html(f"{_THEME}<style>{_STYLE}</style>")
    ui.page_title(f"{title} · DA-Flow Live")
    with ui.element("a").classes("skip").props('href="#content"'):
        ui.html("Skip to the content", sanitize=False, tag="span")
    with ui.element("header").classes("top"):
        with ui.element("a").classes("brand").props(f'href="{path("/")}" aria-label="DA-Flow Live, to the wall"'):
            ui.html(_LOGO, sanitize=False, tag="span")
            ui.html("DA-Flow Live", sanitize=False, tag="span")
        with ui.element("nav").props('aria-label="Views"'):
            for name, where, icon in _VIEWS:
                here = ' aria-current="page"' if title == name else ""
                with ui.element("a").props(f'href="{path(where)}"{here}'):
                    ui.icon(icon).props("aria-hidden=true")
                    text(name, "span")
                    if name == "Incidents":
                        badge = text("", "span", "count")
        with ui.element("a").classes("plain docs").props('href="/docs"'):
            text("API", "span")
        if watch.authenticated:
            with ui.element("a").classes("plain").props('href="/login"'):
                text("Key", "span")
        ThemeButton()
    if watch.simulated:
        text(f"{_DEMO}.", "p", "demo")
    news = ui.element("p").classes("unseen").props('role="status"')
    with news:
        told = ui.html("", sanitize=True, tag="span")

    def count() -> None:
        number = len(watch.open)
        badge.set_content(f"{number}<span class='unseen'> open</span>" if number else "")
        badge.set_visibility(bool(number))

    def hear(incident: IncidentInfo) -> None:
        count()
        if incident.ended_at is None and incident.updated_at == incident.started_at:
            told.set_content(f"New incident at {incident.camera}")

    count()
    watch.incident.subscribe(hear)
    # NiceGUI's layout is the main landmark already.
    with ui.element("div").classes("content").props('id="content" tabindex="-1"'):
        yield


def path(where: str) -> str:
    """The address of a view."""
    return f"/dashboard{where}"


def text(content: str, tag: str = "p", classes: str = "") -> ui.html:
    """Text in an element of its own kind; markup in it is shown, not obeyed."""
    return ui.html(escape(content), sanitize=False, tag=tag).classes(classes)


def escape(content: str) -> str:
    """Text as HTML."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        content = content.replace(sign, entity)
    return content


def heading(content: str, level: int = 2) -> ui.html:
    """A heading."""
    return text(content, f"h{level}")


@contextmanager
def card(title: str | None = None, classes: str = "") -> Iterator[Element]:
    """A section with a heading."""
    with ui.element("section").classes(f"card {classes}") as section:
        if title:
            section.props(f'aria-label="{escape(title)}"')
            heading(title)
        yield section


@contextmanager
def empty(title: str, advice: str, icon: str = "inbox") -> Iterator[None]:
    """What stands where nothing is yet: what to do next."""
    with ui.element("div").classes("empty"):
        ui.icon(icon).props("aria-hidden=true")
        text(title, "p", "strong")
        text(advice, "p", "soft")
        yield


def facts(pairs: list[tuple[str, str]]) -> ui.html:
    """Figures with their names."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return ui.html(rows, sanitize=False, tag="dl").classes("facts")


def fact_rows(pairs: list[tuple[str, str]]) -> str:
    """The content of `facts`, to renew it."""
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)


def bar(name: str, share: float, words: str, tone: str = "") -> str:
    """A row with a bar, as HTML: who, how much, in words."""
    return (
        f'<li class="bar {tone}"><span>{escape(name)}</span>'
        f'<span class="track"><span style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></span></span>'
        f"<span>{escape(words)}</span></li>"
    )


def button(label: str, act: Callable[[], Any], *, icon: str | None = None, kind: str = "") -> ui.button:
    """A button; `kind` is ``primary``, ``danger`` or nothing."""
    return ui.button(label, on_click=act, icon=icon, color=None).props("no-caps unelevated").classes(f"act {kind}")


async def attempt(doing: Awaitable[Any], done: str | None = None) -> Any:
    """Wait for something, say that it is done, or why not.

    Returns:
        What it gave; None if it was refused.
    """
    try:
        answer = await doing
    except Refused as error:
        ui.notify(str(error), type="negative", position="top", multi_line=True, close_button="Close", timeout=10_000)
        return None
    if done:
        ui.notify(done, type="positive", position="top")
    return answer if answer is not None else {}


_LOGO: Final = (
    '<svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true"><rect width="32" height="32" rx="9" '
    'class="logo"/><path d="M6 18h5l3-8 4 14 3-6h5" fill="none" stroke="#fff" stroke-width="2.6" '
    'stroke-linejoin="round" stroke-linecap="round"/></svg>'
)
