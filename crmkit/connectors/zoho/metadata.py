"""What an org has set up: fields, pipelines, currency. Read once and kept for a short while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from crmkit.connectors.clock import Clock
from crmkit.connectors.zoho.client import Client, Rows
from crmkit.connectors.zoho.columns import Columns, plan
from crmkit.connectors.zoho.records import Names, names
from crmkit.errors import BadAnswer
from crmkit.model import Kind

T = TypeVar("T")
# Less than the overlap of two reads, so that a value written into a new field is not missed.
_KEPT_SECONDS = 30.0


class Metadata:
    """The setup of an org, loaded when it is asked for."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.RLock()
        self._kept: dict[str, tuple[float, Any]] = {}

    def fields(self, module: str) -> Sequence[Mapping[str, Any]]:
        """The metadata of all fields of a module."""
        return self._keep(
            f"fields {module}",
            lambda: self._client.listing("/settings/fields", {"module": module}).rows,
        )

    def columns(self, kind: Kind, module: str) -> Columns:
        """What to ask for to read a kind."""
        return self._keep(
            f"columns {module}", lambda: understood("fields", lambda: plan(kind, self.fields(module)))
        )

    def stage_field(self) -> Mapping[str, Any]:
        """The field that holds all stages.

        Raises:
            BadAnswer: The org's deals have none.
        """
        for field in self.fields("Deals"):
            if field.get("api_name") == "Stage":
                return field
        raise BadAnswer("the fields of Deals do not list Stage")

    def pipelines(self) -> Sequence[Mapping[str, Any]]:
        """The pipelines of all layouts of deals; none if sales pipelines are off."""
        return self._keep("pipelines", self._read_pipelines)

    def names(self) -> Names:
        """What deals call pipelines and stages."""
        return self._keep(
            "names", lambda: understood("stages", lambda: names(self.stage_field(), self.pipelines()))
        )

    def org(self) -> Mapping[str, Any]:
        """The org itself."""
        return self._keep("org", lambda: organisation(self._client.listing("/org")))

    def load(self, *, deals: bool, module: str) -> None:
        """Read what one module needs, in as few rounds as possible."""
        wanted: list[Callable[[], Any]] = [self.org, lambda: self.fields(module)]
        if deals:
            wanted.append(self.pipelines)
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            for future in [pool.submit(one) for one in wanted]:
                future.result()

    def forget_names(self) -> None:
        """Read fields and pipelines again when they are next asked for."""
        with self._lock:
            for key in ("names", "pipelines", "fields Deals"):
                self._kept.pop(key, None)

    def _read_pipelines(self) -> Sequence[Mapping[str, Any]]:
        layouts = self._client.listing("/settings/layouts", {"module": "Deals"}).rows
        found: list[Mapping[str, Any]] = []
        for layout in layouts:
            # 204 where sales pipelines are off (inferred), which gives no rows.
            found += self._client.listing("/settings/pipeline", {"layout_id": layout["id"]}).rows
        return found

    def _keep(self, key: str, read: Callable[[], T]) -> T:
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() - kept[0] < _KEPT_SECONDS:
            return kept[1]  # type: ignore[no-any-return]
        value = read()
        with self._lock:
            self._kept[key] = (self._clock.monotonic(), value)
        return value


def organisation(answer: Rows) -> Mapping[str, Any]:
    """The one org of an answer.

    Raises:
        BadAnswer: There is none.
    """
    if not answer.rows:
        raise BadAnswer("Zoho did not say which org this is")
    return answer.rows[0]


def understood(what: str, read: Callable[[], T]) -> T:
    """What `read` gives from an org's setup.

    Raises:
        BadAnswer: The setup has another shape than Zoho documents.
    """
    try:
        return read()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswer(f"the {what} of this org have an unexpected shape ({error!r:.100})") from error
