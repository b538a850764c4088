"""`[report.notify]` of crmkit.toml: who is told about a report.

```toml
[report.notify]
targets = ["team-slack", "ops-mail"]
link = "https://files.example.com/pipeline.html"   # where people find the whole report
```

A target is only a name here: its address holds tokens, so it is a secret
(`CRMKIT_NOTIFY_TEAM_SLACK_URL`; see `crmkit.report.notify`).
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

Target = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


def _once(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if value.count(name) > 1:
            raise ValueError(f"{name!r} is named twice")
    return value


Targets = Annotated[tuple[Target, ...], AfterValidator(_once)]
"""Who is told, by name; each name once."""


class NotifySettings(BaseModel):
    """The targets of notifications by name, and the address of the report in what they are told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: Targets = ()
    link: str | None = None

    @field_validator("link")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("is not the address of a page: begin it with https://")
            if parts.username or parts.password:
                raise ValueError("holds a password: whoever is told would see it")
        return value
