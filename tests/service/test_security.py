from __future__ import annotations

import pytest

from service.security import same_origin


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://Daflow.example", "daflow.example", True),
        ("http://127.0.0.1:8001", "127.0.0.1:8000", False),
        ("http://localhost:8000", "127.0.0.1:8000", False),
        ("https://daflow.example.evil.example", "daflow.example", False),
        ("null", "127.0.0.1:8000", False),
        ("http://127.0.0.1:8000", None, False),
    ],
)
def test_only_our_own_pages_and_programs_that_are_no_browsers_may_use_the_service(
    origin: str | None, host: str | None, allowed: bool
) -> None:
    assert same_origin(origin, host) is allowed
