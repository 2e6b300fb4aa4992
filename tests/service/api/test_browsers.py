from __future__ import annotations

import base64
import hashlib

import pytest

from service.api.browsers import client_network, known_host, page_policy, same_origin


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://Daflow.example", "daflow.example", True),
        ("http://daflow.example", "daflow.example:80", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://daflow.example", "daflow.example", False),
        ("https://127.0.0.1:8000", "127.0.0.1:8000", False),
        ("ftp://127.0.0.1:8000", "127.0.0.1:8000", False),
        ("http://127.0.0.1:8000/", "127.0.0.1:8000", False),
        ("http://user@127.0.0.1:8000", "127.0.0.1:8000", False),
        ("http://127.0.0.1:x", "127.0.0.1:x", False),
        ("http://", "", False),
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
    assert same_origin(origin, host, "http") is allowed
    assert same_origin(origin, host, "ws") is allowed


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_a_page_that_came_without_tls_may_not_use_a_service_behind_tls(scheme: str) -> None:
    assert same_origin("https://daflow.example", "daflow.example", scheme)
    assert same_origin("https://daflow.example", "daflow.example:443", scheme)
    assert not same_origin("http://daflow.example", "daflow.example", scheme)
    assert not same_origin("http://daflow.example:443", "daflow.example:443", scheme)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8000", True),
        ("127.0.0.1", True),
        ("127.9.9.9:80", True),
        ("localhost:8000", True),
        ("LocalHost", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("Cameras.example:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:8000", False),
        ("localhost@evil.example", False),
        ("evil.example/localhost", False),
        ("192.168.0.7:8000", False),
        ("0.0.0.0:8000", False),
        ("[2001:db8::1]:8000", False),
        ("::1", False),
        ("127.0.0.1:8000, evil.example", False),
        ("", False),
        (None, False),
    ],
)
def test_only_names_that_nobody_else_can_give_this_machine_are_known(host: str | None, known: bool) -> None:
    assert known_host(host, "cameras.example") is known


def test_a_page_may_run_its_own_script_and_nothing_else() -> None:
    def digest(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    page = "<head><style>\nb { color: red }\n</style></head><script>\nalert('é');\n</script>"
    policy = dict(directive.split(" ", 1) for directive in page_policy(page).split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == digest("\nalert('é');\n")
    assert policy["style-src"] == digest("\nb { color: red }\n")
    assert policy["connect-src"] == policy["media-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", ""),
    ],
)
def test_addresses_of_one_customer_count_as_one(address: str, network: str) -> None:
    assert client_network(address) == network
