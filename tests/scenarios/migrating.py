"""A workspace in which one sandbox CRM is moved into another one, and what a person would do on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crmkit.connectors.clock import SystemClock
from crmkit.migrating import OpenMigration, open_migration
from crmkit.migration.structure import PipelinePlace, StagePlace, Way
from crmkit.model import Kind
from crmkit.sandbox.clicks import Wanted, click_pipeline, click_stages
from crmkit.sandbox.server import Sandbox
from crmkit.session import Session
from crmkit.sync.state import State
from tests.sandbox_bench import BoxClock
from tests.scenarios.conftest import Crmkit, Result

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SETTLE_SECONDS = 900.0  # longer than any index trails, and than a request may be under way
PASS = ("--confirm", "creates=1000000", "--confirm", "settings=1")
# What the targets cannot take is told in the note about the deal's past, or left out by decision.
DECIDED: Mapping[str, Any] = {
    "conflicts": "target",
    "missing": {
        "owner": "without", "amount": "without", "company": "leave_out", "contacts": "leave_out",
    },
}  # fmt: skip


@dataclass
class Move:
    """Somebody at a shell who moves one CRM into another one."""

    crmkit: Crmkit
    box: Sandbox
    folder: Path
    source: str
    target: str
    decisions: dict[str, Any] = field(default_factory=dict)

    def decide(self, **decisions: Any) -> None:
        """Write decisions into crmkit.toml."""
        self.decisions |= decisions
        path = self.folder / "crmkit.toml"
        before = path.read_text(encoding="utf-8").partition(_SECTION)[0]
        settings = {"source": self.source, "target": self.target, **self.decisions}
        lines = [f"{name} = {_toml(value)}" for name, value in settings.items()]
        path.write_text(before + _SECTION + "\n".join(lines) + "\n", encoding="utf-8")

    def run(self, command: str, *options: str) -> Result:
        """`crmkit migrate COMMAND SOURCE TARGET ...`."""
        return self.crmkit("migrate", command, self.source, self.target, *options)

    def shown(self, command: str, *options: str) -> tuple[int, Any]:
        """Exit code and JSON of a command."""
        result = self.crmkit("--json", "migrate", command, self.source, self.target, *options)
        assert result.out, result.err
        return result.code, json.loads(result.out)

    def apply(self) -> dict[str, Any]:
        """Move everything, and wait until everything under way has come to an end."""
        code, document = self.shown("apply", "--yes", *PASS)
        assert code in (0, 4, 5), document
        self.settle()
        return document

    def delta(self) -> dict[str, Any]:
        """Carry on what changed."""
        code, document = self.shown("delta", *PASS)
        assert code in (0, 4, 5), document
        self.settle()
        return document

    def until_quiet(self) -> None:
        """Run deltas until one has nothing to write."""
        for _ in range(4):
            if self.delta()["writes"] == 0:
                return
        raise AssertionError("every delta has something to write again")

    def proof(self) -> tuple[int, Any]:
        """The proof as JSON."""
        return self.shown("verify")

    def settle(self) -> None:
        """Let indexes catch up and everything under way come to an end."""
        self.box.clock.advance(SETTLE_SECONDS)

    @contextmanager
    def opened(self) -> Iterator[OpenMigration]:
        """The migration as the commands open it, on the local copy."""
        session = Session.open(self.folder / "crmkit.toml")
        with (
            session.state() as state,
            open_migration(session, state, self.source, self.target, watch=None, read_only=True) as moving,
        ):
            yield moving

    def click(self) -> None:
        """Do in the target what the checklist asks for."""
        app = self.box[self.target]
        with self.opened() as moving:
            structure = moving.as_planned().structure
        by_hand = [one for one in structure.of_way(Way.BY_HAND) if isinstance(one, PipelinePlace)]
        whole = {one.source.ref for one in by_hand}
        for line in by_hand:
            assert line.target is not None
            click_pipeline(app, line.target.name, [_wanted(stage) for stage in line.target.stages])
        lines = {one.source.ref: one.target for one in structure.pipelines}
        for place in structure.of_way(Way.BY_HAND):
            if isinstance(place, StagePlace) and place.pipeline.ref not in whole:
                target = lines[place.pipeline.ref]
                assert target is not None
                click_stages(app, target.ref.id, [_wanted(place.target)])

    def state(self) -> State:
        """The state store."""
        return State(f"sqlite:///{self.folder / '.crmkit/state.db'}")

    def counterparts(self) -> dict[str, str]:
        """The target's id of each deal by the source's."""
        with self.opened() as moving, closing(self.state()) as state, state.read() as db:
            found: dict[str, dict[str, str]] = {}
            for connection, native, entity, status in moving.migration.group.hub.addresses(db, Kind.DEAL):
                if status.value == "live":
                    found.setdefault(entity, {})[connection] = native
        return {
            ends[self.source]: ends[self.target]
            for ends in found.values()
            if {self.source, self.target} <= ends.keys()
        }


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _wanted(stage: Any) -> Wanted:
    share = stage.probability
    return Wanted(stage.name, str(stage.outcome), None if share is None else float(share))  # type: ignore[arg-type]


_SECTION = "\n[migrations.move]\n"
Open = Callable[..., Move]


def open_move(
    crmkit: Crmkit,
    up: Callable[..., Sandbox],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    *,
    deals: int = 40,
    there: int = 8,
    awkward: bool = True,
    **options: Any,
) -> Move:
    """A workspace over two sandbox CRMs, the target nearly empty; awkward records are in the source."""
    box = up(source, target, **{"deals": {source: deals, target: there}, "now": NOW, **options})
    clock = BoxClock(box.clock)
    monkeypatch.setattr(SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(SystemClock, "monotonic", lambda _: clock.monotonic())
    monkeypatch.setattr(SystemClock, "sleep", lambda _, seconds, event: clock.sleep(seconds, event))
    if awkward:
        plant(box, source)
    move = Move(crmkit, box, folder, source, target)
    move.decide(**DECIDED)
    return move


def plant(box: Sandbox, source: str) -> dict[str, str]:
    """Add the records that migrations lose; ids by what is awkward about them."""
    world = box[source].world
    company = next(iter(world.companies))
    pipelines = list(world.pipelines.values())
    stage = next(one for one in pipelines[0].stages if one.outcome == "open")
    gone = next((user.id for user in world.users.values() if not user.active), None)
    base: dict[str, Any] = {
        "company_id": company, "pipeline_id": pipelines[0].id, "stage_id": stage.id,
        "contact_ids": _someone(world, company), "owner_id": next(iter(world.users)),
    }  # fmt: skip
    nobody = world.create_contact(
        first="No", last="Address", emails=(), phones=(), company_id=company,
        owner_id=next(iter(world.users)), custom={},
    )  # fmt: skip
    wanted: dict[str, dict[str, Any]] = {
        "long name": {"name": "L" * 300},
        "emoji": {"name": "🚀 Rocket – 日本 עברית"},
        "fraction": {"name": "Fraction", "amount": Decimal("1234.56")},
        "zero": {"name": "Zero", "amount": Decimal(0)},
        "no amount": {"name": "Unknown amount", "amount": None},
        "last day": {"name": "Leap", "expected_close": date(2024, 2, 29)},
        "inactive owner": {"name": "Left us", "owner_id": gone or base["owner_id"]},
        "no address": {"name": "Nobody", "contact_ids": (nobody.id,)},
        "formula": {"name": "=1+1"},
    }
    if source not in ("close",):
        wanted["no company"] = {"name": "Lonely", "company_id": None}
    found = {label: world.create_deal(**{**base, **fields}).id for label, fields in wanted.items()}
    world.add_note(
        deal_id=found["emoji"], company_id=None, contact_id=None, author_id=base["owner_id"],
        text='Said: "yes" & <b>now</b>\nsecond line 🙂',
    )  # fmt: skip
    return found


def _someone(world: Any, company: str) -> tuple[str, ...]:
    mine = (row.id for row in world.contacts.values() if row.company_id == company)
    return (next(mine, next(iter(world.contacts))),)
