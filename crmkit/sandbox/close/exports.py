"""Exports of opportunities: a job, polls, and a link that is good for a minute.

Source: https://developer.close.com/api/resources/exports/create-opportunity
"""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from crmkit.sandbox.close.answers import missing, refuse, stamp
from crmkit.sandbox.close.opportunities import Opportunities
from crmkit.sandbox.close.seed import opaque

LINK_SECONDS = 60
_encoder = msgspec.json.Encoder(decimal_format="number")
_FIELDS = (
    "confidence contact_id created_by created_by_name date_created date_updated date_won id lead_id "
    "lead_name note status_id status_label status_type updated_by updated_by_name user_id user_name value "
    "value_period"
).split()
_NEXT = {"created": "in_progress", "in_progress": "done", "done": "done"}


@dataclass(slots=True)
class _Job:
    """One export and the file it made; every poll brings it one step on."""

    shown: dict[str, Any]
    content: bytes
    documents: int
    links: dict[str, float]


class Exports:
    """The exports of one organization."""

    def __init__(self, opportunities: Opportunities) -> None:
        self.opportunities, self.world = opportunities, opportunities.world
        self._jobs: dict[str, _Job] = {}
        self._rng = random.Random("close-exports")

    def create(self, body: Mapping[str, Any], caller: str) -> dict[str, Any]:
        """Begin an export of what the same filters would list."""
        form = body.get("format")
        if form not in {"json", "csv"}:
            raise refuse("format must be json or csv.")
        fields = list(body.get("fields") or _FIELDS)
        params = {key: str(value) for key, value in (body.get("params") or {}).items()}
        found = self.opportunities.find(params)
        records = self.opportunities.records
        rows = [records.opportunity(deal) for deal in found.page(0, found.total)]
        if body.get("fields") or form == "csv":
            rows = [{name: row.get(name) for name in fields} for row in rows]
        now = stamp(self.world.now())
        export_id = f"expo_{opaque(self._rng)}"
        self._jobs[export_id] = _Job(
            {
                "created_by": caller,
                "date_created": now,
                "date_format": body.get("date_format", "original"),
                "date_updated": now,
                "download_url": None,
                "fields": fields,
                "format": form,
                "id": export_id,
                "n_docs": None,
                "n_docs_processed": 0,
                "organization_id": records.organization_id,
                "params": dict(body.get("params") or {}),
                "send_done_email": bool(body.get("send_done_email", True)),
                "status": "created",
                "type": "opps",
                "updated_by": caller,
            },
            gzip.compress(_encoder.encode(rows) if form == "json" else _csv(fields, rows), 1),
            len(rows),
            {},
        )
        return self._jobs[export_id].shown

    def poll(self, export_id: str, origin: str) -> dict[str, Any]:
        """The state of an export; once it is done, with a fresh link."""
        job = self._jobs.get(export_id)
        if job is None:
            raise missing("Export")
        status = _NEXT[job.shown["status"]]
        job.shown |= {"status": status, "n_docs": job.documents}
        if status == "done":
            signature = opaque(self._rng, 20)
            job.links[signature] = self.world.clock.monotonic() + LINK_SECONDS
            path = f"{export_id}.{job.shown['format']}"
            job.shown |= {
                "n_docs_processed": job.documents,
                "download_url": f"{origin}/close-exports/{path}"
                f"?X-Amz-Expires={LINK_SECONDS}&X-Amz-Signature={signature}",
            }
        return job.shown

    def all(self) -> dict[str, Any]:
        """All exports."""
        return {"data": [job.shown for job in self._jobs.values()], "has_more": False}

    def download(self, name: str, signature: str) -> Response:
        """The file, if the link is still good; it is the store that answers, not the API."""
        job = self._jobs.get(name.partition(".")[0])
        if job is None or job.links.get(signature, -1.0) < self.world.clock.monotonic():
            page = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            return Response(page, 403, media_type="application/xml")
        kind = "application/json" if job.shown["format"] == "json" else "text/csv"
        return Response(job.content, headers={"content-encoding": "gzip"}, media_type=kind)


def _csv(fields: list[str], rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
