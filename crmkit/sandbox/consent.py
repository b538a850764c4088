"""A person's consent in a browser: codes that work once, for a short time, for who asked for them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.responses import PlainTextResponse, RedirectResponse, Response

LIFE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Code:
    ends: float
    redirect: str
    challenge: str | None


class Consents:
    """The codes of one app; its only user allows everything at once.

    Args:
        clock: Seconds.
        name: What the codes begin with.
        life_seconds: How long a code works.
    """

    def __init__(self, clock: Callable[[], float], name: str, life_seconds: float = LIFE_SECONDS) -> None:
        self._clock, self._name, self._life = clock, name, life_seconds
        self._codes: dict[str, _Code] = {}
        self._made = 0
        self.refuses = False

    def redirect(self, said: Mapping[str, str], target: str, rest: Mapping[str, str]) -> Response:
        """Send the browser back.

        Args:
            said: The parameters of the authorise address.
            target: Where to.
            rest: What comes back besides the code; an empty value is left out.
        """
        kept = {name: value for name, value in rest.items() if value}
        if self.refuses:
            return RedirectResponse(f"{target}?{urlencode({'error': 'access_denied', **kept})}", 302)
        if said.get("code_challenge") and said.get("code_challenge_method") != "S256":
            return PlainTextResponse("code_challenge_method is not supported", 400)
        self._made += 1
        code = hashlib.sha256(f"{self._name}-code-{self._made}".encode()).hexdigest()[:32]
        self._codes[code] = _Code(self._clock() + self._life, target, said.get("code_challenge") or None)
        return RedirectResponse(f"{target}?{urlencode({'code': code, **kept})}", 302)

    def take(self, form: Mapping[str, str], *, knows_redirect: bool) -> bool:
        """Whether a code is good; it is used up either way."""
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.ends <= self._clock():
            return False
        if knows_redirect and form.get("redirect_uri") != code.redirect:
            return False
        if code.challenge is None:
            return True
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == code.challenge
