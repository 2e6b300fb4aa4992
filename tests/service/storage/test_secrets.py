from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from service.errors import StartupError
from service.storage.secrets import Cipher, SecretLost

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.mark.parametrize("text", ["", "rtsp://u:p@h/", "ü€\N{SNOWMAN}", "x" * 2048])
def test_a_text_is_the_same_after_both_ways(text: str) -> None:
    token = Cipher([OLD]).encrypt(text)
    assert text == "" or text not in token
    assert Cipher([OLD]).decrypt(token) == text
    assert Cipher([NEW, OLD]).decrypt(token) == text
    with pytest.raises(SecretLost):
        Cipher([NEW]).decrypt(token)
    assert (Cipher([OLD, NEW]).is_current(token), Cipher([NEW, OLD]).is_current(token)) == (True, False)


def test_keys_come_from_the_setting_or_else_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "camera.key"
    assert Cipher.load(path, None) is None
    made = Cipher.create(path)
    assert path.stat().st_mode & 0o077 == 0
    loaded = Cipher.load(path, None)
    assert loaded is not None
    assert loaded.decrypt(made.encrypt("a")) == "a"
    path.write_text(f"{NEW}\n{path.read_text()}")
    rotated = Cipher.load(path, None)
    assert rotated is not None
    assert rotated.decrypt(made.encrypt("a")) == "a"
    assert not rotated.is_current(made.encrypt("a"))
    named = Cipher.load(path, f"{OLD}, {NEW}")
    assert named is not None
    assert named.decrypt(rotated.encrypt("b")) == "b"


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff\xfe", b"not a key " * 5])
def test_a_file_that_has_no_key_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "camera.key"
    path.write_bytes(content)
    with pytest.raises(StartupError, match=r"camera\.key cannot be used.*DAFLOW_SECRET_KEYS"):
        Cipher.load(path, None)
