from __future__ import annotations

import pytest

from pose.connections import PinnedUrl
from service.addresses.urls import StreamUrlError
from service.addresses.web import pinned_request, web_address


@pytest.mark.parametrize("url", ["rtsp://door/live", "skeletons:", "/etc/passwd", "0", "ftp://web/", "", "file:///etc"])
def test_only_addresses_of_the_web_are_taken_and_the_refusal_says_what_for(url: str) -> None:
    with pytest.raises(StreamUrlError, match="the address of a clip must begin with https:// or http://") as refusal:
        web_address(url, "the address of a clip")
    assert refusal.value.cause == "scheme"


def test_the_rules_of_cameras_hold() -> None:
    assert web_address("HTTPS://Videos.Example/a.mp4", "the address").host == "videos.example"
    for url, cause in (("http://0x7f.1/", "host"), ("http://a/b c", "characters"), ("http://a:0/", "port")):
        with pytest.raises(StreamUrlError) as refusal:
            web_address(url, "the address")
        assert refusal.value.cause == cause


@pytest.mark.parametrize(
    ("url", "address", "host"),
    [
        (PinnedUrl("https", "a.example", "192.0.2.7", 443, "/b?c=d"), "https://192.0.2.7/b?c=d", "a.example"),
        (PinnedUrl("https", "a.example", "192.0.2.7", 8443, "/"), "https://192.0.2.7:8443/", "a.example:8443"),
        (PinnedUrl("http", "2001:db8::1", "2001:db8::1", 80, "/"), "http://[2001:db8::1]/", "[2001:db8::1]"),
    ],
)
def test_a_request_goes_to_the_checked_address_and_names_the_host(url: PinnedUrl, address: str, host: str) -> None:
    request = pinned_request("GET", url, {"accept": "video/*"})
    assert (str(request.url), request.headers["host"], request.headers["accept"]) == (address, host, "video/*")
    assert request.extensions["sni_hostname"] == url.host
    assert "authorization" not in request.headers


def test_credentials_of_the_address_are_sent() -> None:
    url = PinnedUrl("http", "a.example", "192.0.2.7", 80, "/", user="user", password="hunter2")  # noqa: S106
    assert pinned_request("GET", url, {}).headers["authorization"] == "Basic dXNlcjpodW50ZXIy"
