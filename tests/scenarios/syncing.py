"""A workspace whose sync can be planned, applied and looked into; the CRMs and crmkit share one clock."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from crmkit import workspace
from crmkit.connectors.clock import SystemClock
from crmkit.model import Kind
from crmkit.sandbox.rows import Deal
from crmkit.sandbox.server import Sandbox
from crmkit.sync import tables
from crmkit.sync.state import State
from tests.sandbox_bench import BoxClock
from tests.scenarios.conftest import Crmkit, Result

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SETTLE_SECONDS = 900.0  # longer than any index trails, and than a request may be under way


@dataclass(frozen=True)
class Desk:
    """Somebody at a shell in a workspace with the sync `main` over sandbox CRMs."""

    crmkit: Crmkit
    box: Sandbox
    folder: Path

    @property
    def crms(self) -> Sequence[str]:
        return list(self.box.apps)

    def settle(self) -> None:
        """Let indexes catch up and everything under way come to an end."""
        self.box.clock.advance(SETTLE_SECONDS)

    def shown(self, *arguments: str) -> tuple[int, Any]:
        """Exit code and JSON of a command."""
        result = self.crmkit("--json", *arguments)
        assert result.out, result.err
        return result.code, json.loads(result.out)

    def confirmed(self, *arguments: str) -> Result:
        """A command that passes every guard."""
        return self.crmkit(*arguments, "--confirm", "creates=100000", "--confirm", "settings=1")

    def first_sync(self) -> Result:
        """The first sync, confirmed; afterwards the CRMs are quiet."""
        result = self.confirmed("--json", "sync", "main")
        assert json.loads(result.out)["writes"], result.err
        self.settle()
        return result

    def part_doubtful(self) -> None:
        """Say of every pair that waits for a decision that it is two different records."""
        path = self.folder / "review.csv"
        for _ in range(5):
            if self.crmkit("links", "review", "main", "--csv", str(path)).code == 0:
                return
            head, _, rest = path.read_text(encoding="utf-8-sig").partition("\n")
            lines = [line.replace('""', '"different"', 1) for line in rest.splitlines()]
            path.write_text("\n".join([head, *lines]), encoding="utf-8")
            assert self.crmkit("links", "review", "main", "--csv-in", str(path)).code == 0
        raise AssertionError("pairs wait for a decision again and again")

    def linked(self, *names: str) -> list[dict[str, str]]:
        """Deals that are live in all named CRMs: their id by CRM."""
        columns = tables.links.c
        query = sa.select(columns.entity, columns.connection, columns.native_id).where(
            columns.kind == Kind.DEAL.value, columns.status == "live"
        )
        found: dict[str, dict[str, str]] = {}
        with closing(State(f"sqlite:///{self.folder / '.crmkit/state.db'}")) as state, state.read() as db:
            for entity, connection, native in db.execute(query.order_by(columns.entity)):
                found.setdefault(entity, {})[connection] = native
        return [ids for ids in found.values() if set(names) <= set(ids)]

    def deal(self, crm: str, native: str) -> Deal:
        return self.box[crm].world.deals[native]

    def written(self) -> dict[str, int]:
        """What writes have left behind, per CRM: generation of the records and calls that write."""
        return {
            crm: app.world.generation + app.requests.mutating + len(app.world.side_effects)
            for crm, app in self.box.apps.items()
        }

    def markers(self) -> Counter[tuple[str, str]]:
        """How many live records of each CRM carry each of our keys."""
        return Counter(
            (crm, marker) for crm, app in self.box.apps.items() for marker in markers_of(app.world.live)
        )


def markers_of(store: Any) -> list[str]:
    """Our keys in a CRM's records."""
    kinds = ("company", "contact", "deal")
    return [marker for kind in kinds for row in store.tables[kind].values() for marker in keys_of(row)]


def keys_of(row: Any) -> list[str]:
    """Our keys in one record of a sandbox, wherever its connector keeps them."""
    texts = {str(value) for value in row.custom.values()} | set(getattr(row, "tags", ()))
    # Bitrix24 keeps a key in two halves, and the whole of it besides.
    halves = (":company", ":contact", ":deal")
    return [
        text.partition("ck1:")[2] for text in sorted(texts) if "ck1:" in text and not text.endswith(halves)
    ]


def configure(folder: Path, sync: str) -> None:
    """Replace the workspace's sync."""
    path = folder / "crmkit.toml"
    head, _, rest = path.read_text(encoding="utf-8").partition("[syncs.main]")
    _, marker, stage_maps = rest.partition("\n# Stage maps")
    path.write_text(head + "[syncs.main]\n" + sync + "\n" + marker + stage_maps, encoding="utf-8")


def plain_sync(crms: Sequence[str]) -> str:
    """The sync that a sandbox's workspace comes with, over other members."""
    names = json.dumps(list(crms))
    return f'members = {names}\norder = {names}\nrules = {{ stage = "furthest_stage", amount = "hold" }}'


def agreed_sync(crms: Sequence[str]) -> str:
    """A sync that only keeps in step what is in both CRMs already: nothing of it waits for a person."""
    names = json.dumps(list(crms))
    members = "\n".join(f'[syncs.main.member.{crm}]\ncreate = "none"' for crm in crms)
    return f'members = {names}\norder = {names}\nfields = ["name", "expected_close"]\n{members}'


def open_desk(
    crmkit: Crmkit,
    up: Callable[..., Sandbox],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    crms: Sequence[str],
    *,
    sync: Callable[[Sequence[str]], str] = plain_sync,
    **options: Any,
) -> Desk:
    """A workspace with stage maps, pulled once."""
    box = up(*crms, **{"deals": 40, "now": NOW, **options})
    clock = BoxClock(box.clock)
    monkeypatch.setattr(SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(SystemClock, "monotonic", lambda _: clock.monotonic())
    monkeypatch.setattr(SystemClock, "sleep", lambda _, seconds, event: clock.sleep(seconds, event))
    assert crmkit("pull").code == 0
    workspace.add_stage_maps(folder / "crmkit.toml", [crmkit("stages", "suggest").out])
    configure(folder, sync(crms))
    for app in box.apps.values():
        app.requests.clear()
    return Desk(crmkit, box, folder)
