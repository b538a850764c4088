"""`[observe]` of crmkit.toml: where metrics go.

```toml
[observe]
textfile = "/var/lib/node_exporter/textfile/crmkit.prom"   # written after every pull and run
```

Logs are options of the command line (`--log-format`, `--log-level`, `--log-file`), traces
follow the `OTEL_*` environment variables.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator


class ObserveSettings(BaseModel):
    """`textfile`: what the textfile collector of Prometheus' node_exporter reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    textfile: Path | None = None

    @field_validator("textfile")
    @classmethod
    def _read_by_the_collector(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".prom":
            raise ValueError("must end with .prom: the collector reads no other files")
        return value
