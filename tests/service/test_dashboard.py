from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "service" / "dashboard" / "index.html").read_text(encoding="utf-8")


def test_page_needs_nothing_from_elsewhere() -> None:
    assert not re.search(r"https?://|@import|<script[^>]+src|<link[^>]+stylesheet", PAGE)


def test_page_never_parses_text_as_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", PAGE)


def test_every_element_that_the_script_names_is_on_the_page() -> None:
    named = set(re.findall(r'\$\("([\w-]+)"\)', PAGE))
    present = set(re.findall(r'\bid="([\w-]+)"', PAGE))
    assert named
    assert named <= present


def test_every_control_has_a_name_for_screen_readers() -> None:
    assert re.search(r"<label[^>]*><input type=\"file\"", PAGE)
    for tag in re.findall(r"<(?:video|progress|section|div role=\"slider\")[^>]*>", PAGE):
        assert "aria-label" in tag, tag


def test_the_policy_of_the_page_covers_all_that_it_does() -> None:
    # One script and one style without attributes, which the policy names by their digests, and none in attributes.
    assert len(re.findall(r"<script", PAGE)) == len(re.findall(r"<script>", PAGE)) == 1
    assert len(re.findall(r"<style", PAGE)) == len(re.findall(r"<style>", PAGE)) == 1
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=\"", PAGE)
    assert not re.search(r"setAttribute\(\"style|cssText|blob:|createObjectURL|new Worker|<iframe|<object|<form", PAGE)
