"""People who go on working in both CRMs of a migration: the same edits in words of both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from tests.scenarios.migrating import Move

DEAL = frozenset({"name", "amount", "expected_close", "owner", "stage", "po_number"})
COMPANY = frozenset({"name", "phone"})
CONTACT = frozenset({"name", "phone", "email"})
SIDES = {"source": 0, "target": 1}


def values(who: str, kind: str, side: str, turn: int) -> dict[str, Any]:
    """What all fields of a record hold after somebody of one side has edited it in a turn."""
    at = SIDES[side]
    name = f"{who} {kind} edited in the {side} {turn}".title()
    phone = f"+49 30 555{at}{turn}00"
    if kind == "company":
        return {"name": name, "phone": phone}
    if kind == "contact":
        return {"name": name, "phone": phone, "email": f"{who}.{side}{turn}@edited.example"}
    return {
        "name": name,
        "amount": Decimal(1000 * turn + at),
        "expected_close": date(2027, turn, 10 + at),
        "owner": turn + 3 * at,
        "stage": (turn, (3, 4, 1)[turn - 1])[at],
        "po_number": f"PO-{turn}-{at}",
    }


@dataclass
class Team:
    """Deals with a company and a person of their own, by a name that only this test knows.

    Attributes:
        move: The migration.
        ids: Per (name, kind), the record's id in source and target.
    """

    move: Move
    ids: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Who is here."""
        return list(dict.fromkeys(name for name, _ in self.ids))

    # Working

    def hire(self, name: str, **fields: Any) -> dict[str, str]:
        """Add a deal with a company, a person and a note to the source; ids by kind."""
        world = self.world("source")
        mail = f"{name.replace(' ', '.').casefold()}@team.example"
        company = world.create_company(
            name=f"{name} Works", phone="+49 30 5550000", owner_id=self.user("source", 0)
        )
        contact = world.create_contact(
            first="Ann", last=name.title(), emails=(mail,), phones=("+49 30 5550001",),
            company_id=company.id, owner_id=self.user("source", 0),
        )  # fmt: skip
        pipeline, stages = self._pipeline
        deal = world.create_deal(
            **{
                "name": f"The deal of {name}", "amount": Decimal(500), "currency": "EUR",
                "pipeline_id": pipeline, "stage_id": stages[0], "owner_id": self.user("source", 0),
                "company_id": company.id, "contact_ids": (contact.id,), "expected_close": date(2027, 6, 1),
                "custom": {"po_number": "PO-0"}, **fields,
            }
        )  # fmt: skip
        note = self.say("source", deal.id, f"First word about {name}")
        made = {"deal": deal.id, "company": company.id, "contact": contact.id, "note": note}
        for kind in ("deal", "company", "contact"):
            self.ids[name, kind] = {"source": made[kind]}
        return made

    def say(self, side: str, deal: str, text: str) -> str:
        """Add a note to a deal."""
        world = self.world(side)
        author = self.user(side, 0)
        return str(
            world.add_note(deal_id=deal, company_id=None, contact_id=None, author_id=author, text=text).id
        )

    def edit(self, name: str, kind: str, side: str, changes: Mapping[str, Any]) -> None:
        """Edit a record on one side."""
        world, fields = self.world(side), dict(changes)
        if kind == "deal":
            if "owner" in fields:
                fields["owner_id"] = self.user(side, fields.pop("owner"))
            if "stage" in fields:
                stage = self._pipeline[1][fields.pop("stage")]
                fields["stage_id"] = stage if side == "source" else self._there[stage]
            if "po_number" in fields:
                fields["custom"] = {"po_number": fields.pop("po_number")}
        elif kind == "contact":
            if "name" in fields:
                fields["first"], _, fields["last"] = fields.pop("name").rpartition(" ")
            for one, many in (("phone", "phones"), ("email", "emails")):
                if one in fields:
                    fields[many] = (fields.pop(one),)
        world.edit(kind, self.ids[name, kind][side], **fields)

    # Looking

    def learn(self, *names: str) -> None:
        """Find out which records of the target stand for those of the source."""
        target = self.world("target")
        for name in names:
            for kind in ("deal", "company", "contact"):
                known = self.ids[name, kind]
                key = f":{kind}:{known['source']}"
                (known["target"],) = [
                    row.id for row in target.live.tables[kind].values()
                    if any(str(one).endswith(key) for one in row.custom.values())
                ]  # fmt: skip

    def held(self, name: str, kind: str, side: str = "target") -> dict[str, Any]:
        """What a record holds, in the words of `values`."""
        row = self.world(side).live.tables[kind][self.ids[name, kind][side]]
        if kind == "company":
            return {"name": row.name, "phone": row.phone}
        if kind == "contact":
            return {
                "name": f"{row.first} {row.last}",
                "phone": ", ".join(row.phones),
                "email": ", ".join(row.emails),
            }
        stages = self._pipeline[1] if side == "source" else [self._there[one] for one in self._pipeline[1]]
        return {
            "name": row.name,
            "amount": row.amount,
            "expected_close": row.expected_close,
            "owner": self._users[side].index(row.owner_id)
            if row.owner_id in self._users[side]
            else row.owner_id,
            "stage": stages.index(row.stage_id),
            "po_number": row.custom.get("po_number"),
        }

    def conflicts(self, done: Mapping[str, Any]) -> dict[tuple[str, str], set[str]]:
        """Fields that a run holds as a conflict, by (name, kind), in the words of `values`."""
        found: dict[tuple[str, str], set[str]] = {}
        of = {(kind, ids["source"]): (name, kind) for (name, kind), ids in self.ids.items()}
        for one in done["held"]:
            if one["kind"] in ("conflict", "frozen"):
                _, kind, native = one["entity"].split(":", 2)
                if (kind, native) in of:  # others were in both CRMs before
                    found.setdefault(of[kind, native], set()).add(_WORDS.get(one["field"], one["field"]))
        return found

    def words(self, side: str) -> list[str]:
        """The texts of all notes, without what a CRM puts around them: the last line of each."""
        return [_plain(note.text) for note in self.world(side).notes.values()]

    def sizes(self, side: str) -> dict[str, int]:
        """How many records there are of each kind."""
        return {
            kind: len(self.world(side).live.tables[kind]) for kind in ("deal", "company", "contact", "note")
        }

    def decide(self, name: str, kind: str, winner: str) -> set[str]:
        """Say which side is right about every field of a record that is held; gives the fields."""
        move = self.move
        listed = move.crmkit("--json", "conflicts", "list", f"{move.source}-to-{move.target}")
        assert listed.code == 4, listed.err
        native = self.ids[name, kind]["source"]
        found = {one["field"] for one in json.loads(listed.out) if one["deal"].endswith(f":{kind}:{native}")}
        for one in sorted(found):
            taken = move.source if winner == "source" else move.target
            deal = f"{move.source}:{kind}:{native}"
            done = move.crmkit(
                "conflicts", "resolve", f"{move.source}-to-{move.target}", deal, one, "--take", taken
            )
            assert done.code == 0, done.err
        return found

    # Who and where

    def world(self, side: str) -> Any:
        """The content of a CRM."""
        return self.move.box[self.move.source if side == "source" else self.move.target].world

    def user(self, side: str, number: int) -> str:
        """The id of one of the people who work in both CRMs."""
        return self._users[side][number]

    @cached_property
    def _users(self) -> dict[str, list[str]]:
        by_mail = {
            side: {user.email: user.id for user in self.world(side).users.values() if user.active}
            for side in SIDES
        }
        both = sorted(by_mail["source"].keys() & by_mail["target"].keys())
        return {side: [known[mail] for mail in both] for side, known in by_mail.items()}

    @cached_property
    def _pipeline(self) -> tuple[str, list[str]]:
        """A pipeline of the source with five open stages, and them."""
        for one in self.world("source").pipelines.values():
            stages = [stage.id for stage in one.stages if stage.outcome == "open"]
            if len(stages) >= 5:
                return one.id, stages
        raise AssertionError("no pipeline has five open stages")

    @cached_property
    def _there(self) -> dict[str, str]:
        """The target's stage for each of the source's."""
        with self.move.opened() as moving:
            places = moving.migration.structure.stages
            return {
                one.source.id: one.target.id
                for one in places
                if one.pipeline.ref.id == self._pipeline[0] and one.target is not None
            }


def _plain(text: str) -> str:
    """The last line of a note that says something."""
    lines = [line.strip() for line in re.sub(r"<[^>]*>", "\n", text).splitlines()]
    said = [line for line in lines if line and "ck1:" not in line]
    return said[-1] if said else ""


_WORDS = {"phones": "phone", "emails": "email"}
