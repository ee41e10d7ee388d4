"""What planning asked of the world and was answered: a plan holds as long as the answers are the same."""

from __future__ import annotations

from threading import Lock

import msgspec

from skiff.host.files import digest

# What was asked, as words: its kind first.
Question = tuple[str, ...]


class Journal:
    """Collects questions and hashes of answers. Several threads may write in it."""

    def __init__(self) -> None:
        self.answers: dict[Question, str] = {}
        self._lock = Lock()

    def note(self, question: Question, answer: object) -> None:
        """Write down what was asked and answered."""
        hashed = hash_of(answer)
        with self._lock:
            self.answers[question] = hashed


def hash_of(answer: object) -> str:
    """SHA-256 over an answer."""
    data = answer if isinstance(answer, bytes) else msgspec.json.encode(answer, enc_hook=str)
    return digest(data)
