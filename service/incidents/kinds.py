"""How the kinds of an incident are kept in the database: one object, which maps each kind to what was seen of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from model.behaviours import Kind
from service.documents.messages import KindSeen

KIND_FIELDS: Final = frozenset({"kind", "title", "explanation", "kinds"})
"""The fields of `IncidentInfo` that follow from the stored kinds."""

StoredKinds = Mapping[str, Mapping[str, Any]]


def stored_kinds(kinds: Iterable[KindSeen], before: StoredKinds | None = None) -> dict[str, dict[str, Any]]:
    """The kinds of an incident as they are stored.

    Times never run backwards, even if the clock was set back: a kind began when it was first stored to have begun, and
    was last seen no earlier than stored before.

    Args:
        kinds: The kinds.
        before: What is stored now.
    """
    return {seen.kind.value: _kept(seen, (before or {}).get(seen.kind)) for seen in kinds}


def kind_fields(stored: StoredKinds) -> dict[str, Any]:
    """The fields `KIND_FIELDS` of an incident.

    Args:
        stored: The stored kinds; at least one.
    """
    kinds = [KindSeen.model_validate({"kind": kind, **stored[kind]}) for kind in Kind if kind in stored]
    first = kinds[0]
    return {
        "kind": first.kind,
        "title": first.title,
        "explanation": first.explanation,
        "kinds": kinds,
    }


def _kept(seen: KindSeen, before: Mapping[str, Any] | None) -> dict[str, Any]:
    if before is not None:
        known = KindSeen.model_validate({"kind": seen.kind, **before})
        times = {"first_at": known.first_at, "last_at": max(known.last_at, seen.last_at)}
        seen = seen.model_copy(update=times)
    return seen.model_dump(mode="json", exclude={"kind"})
