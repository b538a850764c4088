"""What an org has set up, read once and kept for a short while; and what the credentials may do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from crmkit.connectors.clock import Clock
from crmkit.connectors.zoho.calls import Calls, Rows, has_ids
from crmkit.connectors.zoho.columns import Columns, plan
from crmkit.connectors.zoho.dialect import MissingPermission
from crmkit.connectors.zoho.stages import Names, names
from crmkit.errors import BadAnswer, MissingScope
from crmkit.model import Kind

T = TypeVar("T")
# Less than the overlap of two reads, so that a value written into a new field is not missed.
_KEPT_SECONDS = 30.0
_MODULE_SCOPES = {
    "Deals": "ZohoCRM.modules.deals.READ",
    "Accounts": "ZohoCRM.modules.accounts.READ",
    "Contacts": "ZohoCRM.modules.contacts.READ",
}
NEEDED = (
    "ZohoCRM.org.READ",
    "ZohoCRM.users.READ",
    *_MODULE_SCOPES.values(),
    "ZohoCRM.settings.fields.READ",
    "ZohoCRM.settings.layouts.READ",
    "ZohoCRM.settings.pipeline.READ",
    "ZohoCRM.coql.READ",
)


class Metadata:
    """The setup of an org, loaded when it is asked for."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._lock = threading.RLock()
        self._kept: dict[str, tuple[float, Any]] = {}

    def fields(self, module: str) -> Sequence[Mapping[str, Any]]:
        """The metadata of all fields of a module."""
        return self._keep(
            f"fields {module}",
            lambda: self._calls.listing("/settings/fields", {"module": module}).rows,
        )

    def required(self, module: str) -> frozenset[str]:
        """The fields that some layout of a module demands, besides those that Zoho itself does.

        Nothing if the credentials may not read layouts.
        """
        return self._keep(f"required {module}", lambda: self._read_required(module))

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
        return self._keep("org", lambda: organisation(self._calls.listing("/org")))

    def load(self, *, deals: bool, module: str) -> None:
        """Read what one module needs, in as few rounds as possible."""
        wanted: list[Callable[[], Any]] = [self.org, lambda: self.fields(module)]
        if deals:
            wanted.append(self.pipelines)
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            for future in [pool.submit(one) for one in wanted]:
                future.result()

    def forget_fields(self, module: str) -> None:
        """Read the fields of a module again when they are next asked for."""
        with self._lock:
            for key in (f"fields {module}", f"columns {module}"):
                self._kept.pop(key, None)

    def forget_names(self) -> None:
        """Read fields and pipelines again when they are next asked for."""
        with self._lock:
            for key in ("names", "pipelines", "fields Deals"):
                self._kept.pop(key, None)

    def _read_required(self, module: str) -> frozenset[str]:
        try:
            layouts = self._calls.listing("/settings/layouts", {"module": module}, check=has_ids).rows
        except MissingScope:
            return frozenset()
        return understood("layouts", lambda: frozenset(demanded(layouts)))

    def _read_pipelines(self) -> Sequence[Mapping[str, Any]]:
        layouts = self._calls.listing("/settings/layouts", {"module": "Deals"}, check=has_ids).rows
        found: list[Mapping[str, Any]] = []
        for layout in layouts:
            # 204 where sales pipelines are off (inferred), which gives no rows.
            rows = self._calls.listing("/settings/pipeline", {"layout_id": layout["id"]}).rows
            # The rows do not tell it, and a deal in a pipeline of another layout has to name it.
            found += [{**row, "layout_id": layout["id"]} for row in rows]
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


def demanded(layouts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The API names of fields that an active layout demands; one may come twice."""
    for layout in layouts:
        if layout.get("status") == "inactive":
            continue
        for section in layout.get("sections") or ():
            for field in section.get("fields") or ():
                if field.get("required") is True:
                    yield str(field["api_name"])


def organisation(answer: Rows) -> Mapping[str, Any]:
    """The one org of an answer.

    Raises:
        BadAnswer: There is none, or it has no id.
    """
    if not answer.rows or not (answer.rows[0].get("zgid") or answer.rows[0].get("id")):
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


def missing_scopes(calls: Calls, granted: str | None) -> Sequence[str]:
    """The needed scopes that the credentials lack.

    Args:
        calls: Sends a small call per scope, if there is no other way to tell.
        granted: The scopes as the token endpoint told them; only some data centres do.

    Raises:
        MissingPermission: The user's profile lacks a right, whatever the scopes.
    """
    if granted:
        have = granted.replace(",", " ").split()
        return [scope for scope in NEEDED if not any(covers(one, scope) for one in have)]
    return _found_out(calls)


def covers(granted: str, needed: str) -> bool:
    """Whether a scope includes another: `ZohoCRM.modules.ALL` has `ZohoCRM.modules.deals.READ`."""
    *mine, right = granted.lower().split(".")
    *wanted, act = needed.lower().split(".")
    return right in {"all", act} and wanted[: len(mine)] == mine


def _found_out(calls: Calls) -> Sequence[str]:
    def pipelines() -> None:
        try:
            layouts = calls.listing("/settings/layouts", {"module": "Deals"}).rows
        except MissingScope:
            return  # the other try names that one; without a layout there is nothing to ask for
        for layout in layouts[:1]:
            calls.listing("/settings/pipeline", {"layout_id": layout["id"]})

    tries: dict[str, Callable[[], Any]] = {
        "ZohoCRM.org.READ": lambda: calls.listing("/org"),
        "ZohoCRM.users.READ": lambda: calls.listing("/users", {"type": "CurrentUser"}),
        "ZohoCRM.settings.fields.READ": lambda: calls.listing("/settings/fields", {"module": "Deals"}),
        "ZohoCRM.settings.layouts.READ": lambda: calls.listing("/settings/layouts", {"module": "Deals"}),
        "ZohoCRM.settings.pipeline.READ": pipelines,
        "ZohoCRM.coql.READ": lambda: calls.query("select id from Deals where id > 0 order by id asc limit 1"),
    }
    for module, scope in _MODULE_SCOPES.items():
        tries[scope] = _first_of(calls, module)

    def lacks(scope: str) -> bool:
        try:
            tries[scope]()
        except MissingPermission:
            raise
        except MissingScope:
            return True
        return False

    with ThreadPoolExecutor(max_workers=4) as pool:
        lacking = list(pool.map(lacks, NEEDED))
    return [scope for scope, lack in zip(NEEDED, lacking, strict=True) if lack]


def _first_of(calls: Calls, module: str) -> Callable[[], Any]:
    return lambda: calls.listing(f"/{module}", {"fields": "id", "per_page": 1})
