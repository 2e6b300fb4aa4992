"""Words of the page: names of states and parts, and numbers with their units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from model.behaviours import Kind
from service.documents.amounts import duration as duration
from service.documents.amounts import rate as rate
from service.documents.base import Severity
from service.documents.kinds import SEVERITIES, TITLES, rarity_words, title
from service.documents.results import PersonScore
from service.drawing.overlay import level_text

STATES: Final = {
    "connecting": "Connecting",
    "waiting": "Waiting for a key frame",
    "online": "Live",
    "stalled": "No frames",
    "reconnecting": "Reconnecting",
    "failed": "Failed: needs attention",
    "stopped": "Off",
}
"""Names of the states of a camera, by `pose.live.SourceState`."""

TONES: Final = {"online": "good", "stopped": "quiet", "connecting": "quiet", "waiting": "quiet"}
"""Colours of the states, as classes of ``page.css``; all other states are ``bad``."""

SIGHTS: Final = {
    "too_dark": "too dark",
    "glare": "overexposed",
    "blurred": "blurred or out of focus",
    "covered": "covered",
    "people_too_small": "people too small",
}
"""Why a camera cannot see people, by `pose.sight.CannotSee`."""

ENDS: Final = {
    "quiet": "no named behaviour and no high level any more",
    "camera-lost": "the camera was lost",
    "camera-stopped": "the camera was stopped or changed",
    "service-stopped": "the service was stopped",
    "interrupted": "the service was interrupted",
}
"""Why an incident ended, by `service.documents.base.EndReason`."""

DROPS: Final = {
    "rate_limit": "above the maximum frame rate",
    "overload": "overload",
    "not_ready": "models not loaded",
    "out_of_order": "out of order",
    "error": "processing error",
}
"""Why frames were dropped, by the keys of `CameraStatus.dropped`."""

PARTS: Final = {"pose": "pose", "motion": "motion", "pair": "pair (two people close together)"}
"""Names of the parts of a score."""

MODES: Final = {"alert": "Alert", "warning": "Warning", "record": "Record only", "off": "Off"}
"""What a camera does about a kind of event, by `service.live.rules.Mode`."""

SEVERITIES_COUNTED: Final = {"alert": "Alerts", "warning": "Warnings", "record": "Recorded only"}
"""Incidents of each severity, by `service.documents.base.Severity`."""

_UNITS: Final = {
    "_h_s": " body heights per second",
    "_h": " body heights",
    "_deg": "°",
    "_s": " s",
}
"""Units of facts, by the end of their names."""

RARITY_NOTE: Final = (
    "“1 in 100” means that one in 100 normal movements (half a second of one person) is as unusual or more."
)

FRESH_S: Final = 5.0
"""An older score, in seconds, does not say what is happening now."""

NO_LIVE_DATA: Final = "No live data"

RAREST: Final = 6.0
"""Highest rarity: levels closer to 1 than a millionth are shown alike."""


def rarity(level: float | None) -> float | None:
    """``-log10(1 - level)`` in 0..6, which spreads levels near 1: 0.9 becomes 1, 0.99 becomes 2; None stays None."""
    return None if level is None else round(-math.log10(min(max(1 - level, 10**-RAREST), 1.0)), 3)


def sentence(words: str) -> str:
    """Words as a sentence, with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def happening(people: Sequence[PersonScore]) -> dict[Kind, str]:
    """Titles of the named behaviours that fire in a frame, most severe first.

    Args:
        people: The people in the frame.
    """
    counts = {kind: sum(kind in person.firing for person in people) for kind in Kind}
    return {kind: title(kind, count) for kind, count in counts.items() if count}


def now_words(people: Sequence[PersonScore], level: float | None, threshold: float) -> str:
    """What a camera sees now, such as ``Now: Fall, 1 person`` or ``Level 0.9968: 1 in 310 normal movements``.

    Args:
        people: The people in the newest frame.
        level: Its level; None if nobody was scored.
        threshold: The threshold of the camera.
    """
    named = happening(people)
    if named:
        return f"Now: {'; '.join(named.values())}"
    if level is None:
        return "Nobody scored"
    rare = rarity_words(level)
    if level >= threshold:
        return f"Now: {title(Kind.UNUSUAL, 0)}, level {level_text(level)} ({rare})"
    return f"Level {level_text(level)}: {rare}" + (" normal movements" if " in " in rare else "")


def tone(kind: Kind, modes: Mapping[str, str]) -> str:
    """Severity of a kind on a camera, which is also its class in ``page.css``.

    Args:
        kind: The kind.
        modes: What the camera says of it, from `CameraConfig.behaviours`.
    """
    return modes.get(kind, SEVERITIES.get(kind, Severity.WARNING))


def rule_words(rule: Mapping[str, Any]) -> str:
    """A rule as a sentence.

    Args:
        rule: As in `CameraConfig.rules`; what is missing is as usual.

    Example:
        >>> rule_words({"kinds": ["running"], "days": ["sat", "sun"], "hours": "22:00-06:00", "then": "alert"})
        'Running, Sat and Sun, 22:00-06:00: alert'
        >>> rule_words({"name": "Quiet", "lasts_s": 5, "then": "record"})
        'Quiet. Everything, from 5 s on: record only'
    """
    parts = [
        _listed([TITLES[Kind(kind)] for kind in rule.get("kinds") or ()]).capitalize() or "Everything",
        _listed([day.capitalize() for day in rule.get("days") or ()]),
        rule.get("hours") or "",
        "in its zones" if rule.get("zones") else "",
        f"from {duration(rule['lasts_s'])} on" if rule.get("lasts_s") else "",
    ]
    named = f"{rule['name']}. " if rule.get("name") else ""
    return f"{named}{', '.join(filter(None, parts))}: {MODES[rule['then']].lower()}"


def _listed(names: Sequence[str]) -> str:
    """Names with commas and an "and"; empty for none."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def who(tracks: Iterable[int]) -> str:
    """People by their numbers; nothing for nobody.

    Example:
        >>> who([3]), who([1, 3]), who([9, 1, 2, 3, 5])
        ('person 3', 'people 1, 3', 'people 1-3, 5, 9')
    """
    ordered = sorted(set(tracks))
    if not ordered:
        return ""
    # Numbers in a row have the same difference to their places.
    runs = [[track for _, track in run] for _, run in groupby(enumerate(ordered), lambda one: one[1] - one[0])]
    named = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(str(track) for track in run) for run in runs]
    return f"{'person' if len(ordered) == 1 else 'people'} {', '.join(named)}"


def fact(name: str, value: float) -> tuple[str, str]:
    """A number that a named behaviour measured, as a name and a value with its unit.

    Example:
        >>> fact("drop_h", 0.62), fact("top_speed_h_s", 1.3)
        (('Drop', '0.62 body heights'), ('Top speed', '1.3 body heights per second'))
    """
    end = next((end for end in _UNITS if name.endswith(end)), "")
    words = name.removesuffix(end).replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}", f"{value:{',.0f' if abs(value) >= 10 else '.2g'}}{_UNITS.get(end, '')}"


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A number with its unit; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}{unit}"


def size(count: float) -> str:
    """A number of bytes in the unit that fits, such as ``1.5 KB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def pictures_removed(removed: Mapping[str, int]) -> str:
    """What became of the stored pictures of a camera, as a sentence.

    Args:
        removed: `PicturesRemoved` as JSON.
    """
    if not removed["incidents"]:
        return "No pictures were stored."
    of = "1 incident" if removed["incidents"] == 1 else f"{removed['incidents']:,} incidents"
    files = "1 file" if removed["files"] == 1 else f"{removed['files']:,} files"
    return f"Pictures of {of} removed: {files}, {size(removed['size_bytes'])}."


def camera_name(status: dict[str, Any]) -> str:
    """The name of a camera; its id if it has none."""
    return str(status["config"]["name"] or status["id"])


def is_current(state: str, age_s: float | None) -> bool:
    """Whether the newest score of a camera says what is happening now.

    Args:
        state: State of the camera, a key of `STATES`.
        age_s: Seconds since the frame of that score was captured; None if there is no score.
    """
    return state == "online" and age_s is not None and age_s <= FRESH_S


def state_of(status: dict[str, Any]) -> tuple[str, str]:
    """The state of a camera in words, and its colour as a class of ``page.css``.

    A camera that delivers pictures and cannot see people is not shown as live; one whose calibration does not hold is.

    Args:
        status: `CameraStatus` as JSON.
    """
    state, reason = status["state"], status["cannot_see"]
    if state == "online" and reason is not None:
        return f"Cannot see: {SIGHTS[reason]}", "bad"
    if state == "online" and status["calibration"] == "stale":
        return f"{STATES[state]}, calibration stale", "bad"
    return STATES[state], TONES.get(state, "bad")


def no_people(state: str, age_s: float | None, people: int, cannot_see: str | None = None) -> str:
    """Why the list of people has no rows, as a text; empty if it has some.

    Only a current score of a camera that sees says that nobody is in the picture. Otherwise it is unknown.

    Args:
        state: State of the camera, a key of `STATES`.
        age_s: Seconds since the frame of the newest score was captured; None if there is no score.
        people: Number of people in that score.
        cannot_see: Why the camera cannot see people, a key of `SIGHTS`; None if it sees.
    """
    if not is_current(state, age_s):
        return NO_LIVE_DATA
    if people:
        return ""
    return "Nobody in the picture" if cannot_see is None else f"Unknown: cannot see, {SIGHTS[cannot_see]}"


def cover(status: dict[str, Any], *, seen: bool) -> str:
    """Why a camera has no picture, as a sentence; empty if it has one.

    Args:
        status: `CameraStatus` as JSON.
        seen: Whether a frame was processed already.
    """
    problem = status["problem"]
    match status["state"]:
        case "online":
            return "" if seen else "Processing the first frame…"
        case "stopped":
            return "Turn on “Enabled” in its settings."
        case "connecting":
            return "Waiting for the first frame…"
        case "waiting":
            return "The camera sends video. It can be shown from the next key frame on."
        case _:
            detail = problem["detail"] if problem else "no frames arrive"
            return sentence(detail)
