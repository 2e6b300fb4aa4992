"""Encrypts what may be stored but not be read by whoever copies the database: addresses of cameras with passwords."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.errors import StartupError
from service.storage.writing import atomic_write

KEY_FILE: Final = "camera.key"
"""Name of the file in the data folder with the keys, one a line, unless ``DAFLOW_SECRET_KEYS`` has them."""


class SecretLost(ValueError):
    """A text was encrypted with none of the keys."""

    def __init__(self) -> None:
        super().__init__("it was encrypted with another key")


class Cipher:
    """Encrypts texts with the first of its keys, and decrypts them with any (Fernet: AES-128-CBC and HMAC-SHA256).

    Args:
        keys: Fernet keys, each 32 bytes in URL-safe base64; at least one.

    Raises:
        ValueError: A text is no such key, or there is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("there is no key")
        self._newest = Fernet(keys[0])
        self._all = MultiFernet([Fernet(key) for key in keys])

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a key, and write it into a new file.

        Raises:
            OSError: The file cannot be written.
        """
        key = Fernet.generate_key()
        with atomic_write(path) as stream:
            stream.write(key + b"\n")
        return cls([key.decode()])

    @classmethod
    def load(cls, path: Path, keys: str | None) -> Self | None:
        """The keys of a setting, or else of a file; None if there is neither.

        Args:
            path: The file.
            keys: Keys, separated by commas.

        Raises:
            StartupError: The file cannot be read, or has no keys.
        """
        if keys is not None:
            return cls([key.strip() for key in keys.split(",")])
        try:
            return cls(path.read_text(encoding="ascii").split())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StartupError(
                f"the key of the cameras' addresses in {path} cannot be used: {error}; restore it from the backup, or "
                "set DAFLOW_SECRET_KEYS"
            ) from error

    def encrypt(self, text: str) -> str:
        """The text, encrypted."""
        return self._newest.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """The text that was encrypted.

        Raises:
            SecretLost: None of the keys fits.
        """
        try:
            return self._all.decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise SecretLost from error

    def is_current(self, token: str) -> bool:
        """Whether a text was encrypted with the first key."""
        try:
            self._newest.decrypt(token.encode())
        except InvalidToken:
            return False
        return True
