from __future__ import annotations

import secrets

import pytest

from pose.challenges import Challenged

REALM = "http-auth@example.org"
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
MD5 = f'Digest realm="{REALM}", qop="auth, auth-int", algorithm=MD5, nonce="{NONCE}", opaque="FQhe/qaU925kfnzjCev0"'
SHA256 = MD5.replace("MD5", "SHA-256")


def answered(*challenges: str) -> str:
    mufasa = Challenged("Mufasa", "Circle of Life")
    assert mufasa.hear(challenges)
    return mufasa.authorization("GET", "/dir/index.html") or ""


@pytest.mark.parametrize(
    ("challenge", "response"),
    [
        (MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (SHA256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_answers_are_those_of_the_standard(challenge: str, response: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: CNONCE)
    answer = answered(challenge)
    assert f'response="{response}"' in answer
    assert "nc=00000001" in answer
    assert 'username="Mufasa"' in answer


def test_without_a_quality_of_protection_the_answer_is_that_of_the_older_standard() -> None:
    mufasa = Challenged("Mufasa", "Circle Of Life")
    assert mufasa.hear(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'])
    answer = mufasa.authorization("GET", "/dir/index.html") or ""
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in answer
    assert "qop" not in answer


@pytest.mark.parametrize("order", [(MD5, SHA256), (SHA256, MD5), ('Basic realm="x"', MD5, SHA256)])
def test_the_strongest_challenge_is_answered(order: tuple[str, ...]) -> None:
    assert "algorithm=SHA-256" in answered(*order)
    assert "algorithm=SHA-256" in answered(", ".join(order))


def test_basic_is_answered_where_nothing_else_is_understood() -> None:
    assert answered('Digest realm="x", nonce="n", algorithm=SHA3', 'Basic realm="x"').startswith("Basic ")


@pytest.mark.parametrize(
    "challenge", ["Negotiate", 'Digest realm="x"', 'Digest realm="x", nonce="n", qop="auth-int"', "", "Bearer a=b"]
)
def test_a_challenge_that_is_not_understood_is_not_answered(challenge: str) -> None:
    mufasa = Challenged("Mufasa", "Circle of Life")
    assert not mufasa.hear([challenge])
    assert mufasa.authorization("GET", "/") is None


def test_requests_with_one_nonce_are_counted() -> None:
    mufasa = Challenged("Mufasa", "Circle of Life")
    mufasa.hear([SHA256])
    counts = [(mufasa.authorization("GET", "/") or "").partition("nc=")[2][:8] for _ in range(3)]
    assert counts == ["00000001", "00000002", "00000003"]
