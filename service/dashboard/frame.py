"""What all views share: the head of the page, navigation, announcements of incidents, and common elements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, Final

from nicegui import ui
from nicegui.element import Element
from sqlalchemy.exc import SQLAlchemyError

from service.dashboard.visitor import Refused, reader
from service.dashboard.watch import Watch
from service.documents.base import Severity
from service.documents.messages import IncidentInfo

_STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_VIEWS: Final = (
    ("Cameras", "/", "grid_view"),
    ("Incidents", "/incidents", "notifications_none"),
    ("Report", "/report", "assignment"),
    ("Clips", "/clips", "movie"),
    ("System", "/system", "monitor_heart"),
)
# Set before anything is drawn, so that a dark page does not flash white first.
_THEME: Final = "<script>document.documentElement.dataset.theme = localStorage.getItem('theme') || 'auto'</script>"
_DEMO: Final = "Demo: the cameras are simulated, and the models were trained on simulated people only."


class ThemeButton(Element, component="components/theme.js"):
    """Switches between the colours of the system, dark and light; the browser stores the choice."""


class Moment(Element, component="components/moment.js"):
    """A time in the viewer's time zone.

    Args:
        at: ISO 8601, or None for a dash.
        style: ``time``; ``full``, date and time; or ``ago``, which says "today" instead of today's date.
    """

    def __init__(self, at: str | None, style: str = "full") -> None:
        super().__init__()
        self._props["at"] = at
        self._props["format"] = style


@contextmanager
def frame(title: str, watch: Watch) -> Iterator[None]:
    """The page around a view. If the view meets a refusal while it is built, the page says it instead.

    Args:
        title: Name of the view.
        watch: Knows the open incidents, which the navigation counts.
    """
    ui.add_head_html(f"{_THEME}<style>{_STYLE}</style>")
    ui.page_title(f"{title} · DA-Flow Live")
    with ui.element("a").classes("skip").props('href="#content"'):
        ui.html("Skip to content", sanitize=False, tag="span")
    with ui.element("header").classes("top"):
        with ui.element("a").classes("brand").props(f'href="{path("/")}" aria-label="DA-Flow Live, cameras"'):
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
                        fresh = text("", "span", "fresh")
        with ui.element("a").classes("plain docs").props('href="/docs"'):
            text("API", "span")
        if watch.authenticated:
            with ui.element("a").classes("plain").props('href="/login"'):
                text("Access key", "span")
        ThemeButton()
    if watch.simulated:
        text(_DEMO, "p", "demo")
    news = ui.element("p").classes("unseen").props('role="status"')
    with news:
        announcement = ui.html("", sanitize=True, tag="span")

    def count() -> None:
        number = sum(incident.severity is not Severity.RECORD for incident in watch.open.values())
        badge.set_content(f"{number}<span class='unseen'> open</span>" if number else "")
        badge.set_visibility(bool(number))

    who = reader(ui.context.client.request)

    async def count_unread() -> None:
        try:
            number = await watch.unread(who)
        except SQLAlchemyError:
            return
        fresh.set_content(f"{number:,}<span class='word'> unread</span>" if number else "")
        fresh.set_visibility(bool(number))

    async def announce(incident: IncidentInfo) -> None:
        count()
        new = incident.ended_at is None and incident.updated_at == incident.started_at
        if new and incident.severity is not Severity.RECORD:
            announcement.set_content(f"New incident at {incident.camera}: {incident.title}")
        if new or incident.review.by == who.name:
            await count_unread()

    async def noted(key_id: str) -> None:
        if key_id == who.key_id:
            await count_unread()

    count()
    fresh.set_visibility(False)
    ui.timer(0, count_unread, once=True)
    watch.incident.subscribe(announce)
    watch.read.subscribe(noted)
    # NiceGUI's layout is the main landmark already.
    with ui.element("div").classes("content").props('id="content" tabindex="-1"'):
        try:
            yield
        except Refused as error:
            ui.context.client.status_code = error.status
            text(str(error), "p", "strong")


def path(where: str) -> str:
    """The address of a view."""
    return f"/dashboard{where}"


def text(content: str, tag: str = "p", classes: str = "") -> ui.html:
    """An element with text; HTML in the text is shown as it is, not interpreted."""
    return ui.html(escape(content), sanitize=False, tag=tag).classes(classes)


def heading(content: str, level: int = 2) -> ui.html:
    """A heading."""
    return text(content, f"h{level}")


@contextmanager
def card(title: str | None = None, classes: str = "") -> Iterator[Element]:
    """A section with a heading."""
    with ui.element("section").classes(f"card {classes}") as section:
        if title:
            section.props["aria-label"] = title
            heading(title)
        yield section


@contextmanager
def empty(title: str, advice: str, icon: str = "inbox") -> Iterator[None]:
    """Shown where there is nothing yet: a title, and what to do next."""
    with ui.element("div").classes("empty"):
        ui.icon(icon).props("aria-hidden=true")
        text(title, "p", "strong")
        text(advice, "p", "soft")
        yield


class Facts(ui.html):
    """A list of names with their values.

    Args:
        pairs: Names and values.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("", sanitize=False, tag="dl")
        self.classes("facts")
        self.show(pairs)

    def show(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Replace all names and values."""
        self.set_content(
            "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
        )


def moment_fact(name: str, at: str, style: str = "ago") -> None:
    """A name with a time, within a list of facts.

    Args:
        name: The name.
        at: ISO 8601.
        style: See `Moment`.
    """
    with ui.element("div"):
        text(name, "dt")
        with ui.element("dd"):
            Moment(at, style)


def bar(name: str, share: float, words: str, tone: str = "") -> str:
    """A row with a bar, as HTML.

    Args:
        name: What the bar is for.
        share: Length of the bar, 0 to 1.
        words: The value as text.
        tone: ``hot`` for a value that stands out.
    """
    return (
        f'<li class="bar {tone}"><span>{escape(name)}</span>'
        f'<span class="track"><span style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></span></span>'
        f"<span>{escape(words)}</span></li>"
    )


def button(label: str, act: Callable[[], Any], *, icon: str | None = None, kind: str = "") -> ui.button:
    """A button; `kind` is ``primary``, ``danger`` or nothing."""
    return ui.button(label, on_click=act, icon=icon, color=None).props("no-caps unelevated").classes(f"act {kind}")


def ask(name: str, question: str, words: Sequence[str], label: str, act: Callable[[], Any]) -> ui.dialog:
    """Open a dialog that asks before something is removed.

    Args:
        name: What the dialog is for.
        question: The question.
        words: What will happen, a paragraph each.
        label: The button that does it; another one cancels.
        act: What the button does.
    """
    with ui.dialog(value=True) as dialog, ui.card().props(f'role="dialog" aria-label="{name}"'):
        heading(question)
        for one in words:
            text(one)
        with ui.element("div").classes("row"):
            button(label, act, kind="danger")
            button("Cancel", dialog.close)
    return dialog


async def attempt(doing: Awaitable[Any], done: str | None = None) -> Any:
    """Wait for an action, and notify the viewer of success or of the reason for a refusal.

    Returns:
        The answer of the action, ``{}`` if it had none; None if it was refused.
    """
    # The button that was pressed may be gone when the action ends: an event may have drawn its part of the page anew.
    page = ui.context.client
    try:
        answer = await doing
    except Refused as error:
        with page:
            ui.notify(
                str(error), type="negative", position="top", multi_line=True, close_button="Close", timeout=10_000
            )
        return None
    if done:
        with page:
            ui.notify(done, type="positive", position="top")
    return answer if answer is not None else {}


_LOGO: Final = (
    '<svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true"><rect width="32" height="32" rx="9" '
    'class="logo"/><path d="M6 18h5l3-8 4 14 3-6h5" fill="none" stroke="#fff" stroke-width="2.6" '
    'stroke-linejoin="round" stroke-linecap="round"/></svg>'
)
