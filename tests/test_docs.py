"""What the documentation says that the code can be asked about."""

from __future__ import annotations

import re
from pathlib import Path

from pose.live import TRANSITIONS

DOCS = Path(__file__).parent.parent / "docs"


def test_the_diagram_of_states_shows_every_transition_and_no_other() -> None:
    arrows = re.findall(r"^    (\w+) --> (\w+)", (DOCS / "cameras.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(arrows) == sorted((state, after) for state, further in TRANSITIONS.items() for after in further)
