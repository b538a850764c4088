"""What the tests of the Bitrix24 sandbox call it with."""

from __future__ import annotations

from typing import Any

import requests

from crmkit.sandbox.bitrix24 import Bitrix24App


class Webhook:
    """Calls methods of one portal through its webhook."""

    def __init__(self, app: Bitrix24App) -> None:
        self.app = app
        self.session = requests.Session()

    def post(self, method: str, **params: Any) -> requests.Response:
        """The raw answer."""
        return self.session.post(self.app.credentials["webhook_url"] + method, json=params, timeout=10)

    def answer(self, method: str, **params: Any) -> Any:
        """The whole body of a call that works."""
        answer = self.post(method, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def call(self, method: str, **params: Any) -> Any:
        """What a call that works results in."""
        return self.answer(method, **params)["result"]

    def refused(self, method: str, **params: Any) -> tuple[int, Any, str]:
        """Status, error and description of a call that does not work."""
        answer = self.post(method, **params)
        return answer.status_code, answer.json()["error"], answer.json()["error_description"]
