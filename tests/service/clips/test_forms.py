from __future__ import annotations

import pytest

from service.clips.forms import safe_filename


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("a.mp4", "a.mp4"),
        ("../../etc/passwd", "passwd"),
        ("a\x00\nb.mp4", "ab.mp4"),
        ("", None),
        ("x" * 999, "x" * 255),
    ],
)
def test_a_filename_is_text_and_not_a_path(given_name: str, kept: str | None) -> None:
    assert safe_filename(given_name) == kept
