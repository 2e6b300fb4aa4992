"""What people say of incidents: verdicts, the right kind, notes, and who looks after which."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field

from model.behaviours import Kind
from service.documents.base import Document

LONGEST_NOTE: Final = 2000
"""Most characters of a note."""

LONGEST_NAME: Final = 100
"""Most characters of the name of a person; those of keys are no longer."""

MOST_AT_ONCE: Final = 200
"""Most incidents that one request changes."""


class Verdict(StrEnum):
    """What an incident was, as a person sees it."""

    REAL = "real"
    """It happened."""
    FALSE_ALARM = "false_alarm"
    """Nothing was wrong."""
    DRILL = "drill"
    """It happened, on purpose."""


VERDICTS: Final = {Verdict.REAL: "real", Verdict.FALSE_ALARM: "false alarm", Verdict.DRILL: "drill"}
"""Verdicts in words."""


def _plain(text: str) -> str:
    """Text without control characters, apart from the ends of lines.

    Raises:
        ValueError: It has some.
    """
    if any(not (character.isprintable() or character in "\n\t") for character in text.replace("\r\n", "\n")):
        raise ValueError("must not contain control characters")
    return text.replace("\r\n", "\n").strip()


def _named(text: str) -> str:
    name = _plain(text)
    if not name or "\n" in name or "\t" in name:
        raise ValueError("must be a name in one line; null takes the name away")
    return name


Note = Annotated[str, Field(max_length=LONGEST_NOTE), AfterValidator(_plain)]
PersonName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_named)]

_VERDICT: Final = Field(
    default=None,
    description="`real`, it happened; `false_alarm`, nothing was wrong; `drill`, it happened on purpose; null if "
    "nobody has said.",
)
_KIND: Final = Field(
    default=None, description="What it was, if it was called by the wrong kind; null if the kind is as detected."
)
_ASSIGNED: Final = Field(
    default=None,
    description="Who looks after it: the name of a key, or of a person; null for nobody.",
    examples=["night shift"],
)


class Review(Document):
    """What people have said of an incident."""

    verdict: Verdict | None = _VERDICT
    kind: Kind | None = _KIND
    assigned_to: str | None = _ASSIGNED
    note: str = Field(default="", description=f"Plain text of at most {LONGEST_NOTE} characters.")
    by: str | None = Field(
        default=None, description="Name of the key that changed the review last; null if none has.", examples=["Anna"]
    )
    at: datetime | None = Field(default=None, description="When that was.")
    revision: int = Field(
        default=0, description="Grows by one with each change; a change names the revision that its client saw."
    )


class ReviewState(Document):
    """What people had said of an incident at a time."""

    verdict: Verdict | None = _VERDICT
    kind: Kind | None = _KIND
    assigned_to: str | None = _ASSIGNED
    note: str = Field(default="", description="The note.")
    acknowledged_at: datetime | None = Field(default=None, description="When it was acknowledged; null if it was not.")
    acknowledged_by: str | None = Field(default=None, description="Name of the key that acknowledged it.")


class ReviewRecord(Document):
    """One change of a review."""

    revision: int = Field(description="The revision that it made.", examples=[3])
    at: datetime = Field(description="When it was made.")
    by: str = Field(description="Name of the key that made it.", examples=["Anna"])
    undoes: int | None = Field(description="The revision that it took back; null if it took none back.")
    before: ReviewState = Field(description="What was said before it.")
    after: ReviewState = Field(description="What was said after it.")


class ReviewList(Document):
    """The changes of a review."""

    reviews: list[ReviewRecord] = Field(description="The newest changes, newest first.")


def _without_defaults(schema: dict[str, Any]) -> None:
    # A generated client would send what is left out with its default, and so change it.
    for field in schema["properties"].values():
        field.pop("default", None)


class ReviewChange(Document):
    """A change of a review. Only the fields that are sent change."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    verdict: Verdict | None = _VERDICT
    kind: Kind | None = _KIND
    assigned_to: PersonName | None = _ASSIGNED
    note: Note = Field(default="", description=f"Plain text of at most {LONGEST_NOTE} characters.")
    acknowledged: bool = Field(
        default=False, description="Whether somebody has dealt with it; who and when is added, and stays."
    )

    @property
    def sent(self) -> dict[str, Any]:
        """The fields that change."""
        names = ReviewChange.model_fields.keys() & self.model_fields_set
        return {name: getattr(self, name) for name in ReviewChange.model_fields if name in names}
