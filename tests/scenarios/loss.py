"""A migration of the records that migrations lose, and what became of each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crmkit import workspace
from crmkit.cli import main
from crmkit.commands.sandbox import local_crms
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.clicks import Wanted, click_pipeline
from crmkit.sandbox.hubspot.app import HubSpotApp
from crmkit.sandbox.hubspot.catalogue import KEPT
from crmkit.sandbox.rows import Option, Pipeline, Visit
from crmkit.sandbox.server import Sandbox
from crmkit.sandbox.zoho.app import ZohoApp
from tests.scenarios.conftest import Result
from tests.scenarios.migrating import NOW, open_move

LONG = "Long " + "x" * 290 + " end."
LABELS = ("Red, or so", "Either; or", "🚀 Go")
PO_LABEL = "PO number  of the customer, as on the invoice"  # too long for Zoho, with two blanks
DAY = date(2026, 3, 31)
TWINS = ("Twin one", "Twin two")
HTML = (
    "<p>Dear <b>Ann</b>,</p><ul><li>5 &lt; 6 &amp; so on</li><li>🙂</li></ul>"
    '<p>see <a href="https://x.test/?a=1&amp;b=2">the offer</a></p><script>alert(1)</script>'
)
PLAIN = 'Said: "yes" & <b>now</b> <script>alert(1)</script>\nsecond line 🙂 https://x.test/?a=1&b=2'


@dataclass
class Moved:
    """A migration that is over.

    Attributes:
        source: World of the CRM that was read.
        target: World of the CRM that was written.
        ids: The source's deals by what is awkward about them.
        pairs: The target's deals by the source's.
        plan: What `migrate plan` said.
        runs: What `migrate apply` and the deltas after it said.
        proof: What `migrate verify` said.
    """

    source: Any
    target: Any
    ids: Mapping[str, str]
    pairs: Mapping[str, str]
    plan: Mapping[str, Any]
    runs: Sequence[Mapping[str, Any]]
    proof: Mapping[str, Any]

    def here(self, label: str) -> Any:
        """The source's deal."""
        return self.source.deals[self.ids[label]]

    def arrived(self, label: str) -> bool:
        """Whether the target has the deal."""
        return self.ids[label] in self.pairs

    def there(self, label: str) -> Any:
        """The target's deal."""
        return self.target.deals[self.pairs[self.ids[label]]]

    def custom(self, label: str, field: str) -> Any:
        """What the target's deal holds in a custom field, choices by their labels."""
        world, deal = self.target, self.there(label)
        (found,) = [one for one in world.fields["deal"].values() if one.label == field]
        held = deal.custom.get(found.key)
        labels = {option.id: option.label for option in found.options}
        if isinstance(held, (tuple, list)):
            return sorted(labels.get(str(one), one) for one in held)
        return labels.get(str(held), held)

    def texts(self, label: str, *, raw: bool = False) -> list[str]:
        """The target's notes on the deal, as people see them or as they are kept."""
        native = self.pairs[self.ids[label]]
        notes = [
            note.custom.get("hubspot.hs_note_body", ("", note.text))[1] if raw else note.text
            for note in self.target.notes.values()
            # Close hangs notes on the company, and names the deal in their title.
            if note.deal_id == native or native in str(note.custom.get("_title"))
        ]
        return [note for note in notes if raw or note.strip()]

    def stamp(self, label: str, what: str, own: datetime | None) -> Any:
        """When a deal was made or closed: in a field of its own, else in the target's own one."""
        named = [one for one in self.target.fields["deal"].values() if one.label.startswith(f"{what} in ")]
        held = self.there(label).custom.get(named[0].key) if named else own
        return datetime.fromisoformat(held) if isinstance(held, str) else held

    def letter(self, label: str) -> str:
        """The note about the deal's past."""
        (found,) = [note for note in self.texts(label) if note.startswith("Migrated by crmkit")]
        return found

    def proven(self, label: str, field: str) -> str | None:
        """Why the proof says that a field differs, or with an empty name the whole deal."""
        for record in self.proof["records"]:
            if record["kind"] == "deal" and record["source"] == self.ids[label]:
                for one in record["differences"]:
                    if one["field"] == field:
                        return str(one["code"])
        return None

    def foreseen(self, field: str, label: str) -> set[str]:
        """Codes of the pre-flight's findings about a field that have a deal among their examples."""
        return {
            one["code"]
            for one in self.plan["findings"]
            if one["kind"] == "deal"
            and one["field"] == field
            and (
                one["count"] > len(one["examples"])
                or self.ids[label] in {each["id"] for each in one["examples"]}
            )
        }

    def stage(self, label: str) -> tuple[str, str, str]:
        """The target's pipeline, stage and outcome."""
        return placed(self.target, self.there(label))

    def owner(self, label: str) -> str | None:
        """The e-mail address of the target's owner."""
        return mail(self.target, self.there(label).owner_id)


def placed(world: Any, deal: Any) -> tuple[str, str, str]:
    """Pipeline, stage and outcome of a deal by name."""
    stage = world.stage(deal.pipeline_id, deal.stage_id)
    return world.pipelines[deal.pipeline_id].name, stage.name, deal.status


def mail(world: Any, owner: str | None) -> str | None:
    """The address of a user."""
    return None if owner is None else str(world.users[owner].email)


def local(world: Any, day: date, at: time) -> datetime:
    """A moment on the clock of a CRM's time zone."""
    zone = ZoneInfo(world.time_zone)
    return datetime.combine(day, at, zone).astimezone(NOW.tzinfo)


def plant_losses(box: Sandbox, source: str) -> dict[str, str]:
    """Add the deals to the source; ids by what is awkward about them."""
    app = box[source]
    world = app.world
    products = world.fields["deal"]["products"]
    ids = {label: label if source == "close" else f"9{at}{at}" for at, label in enumerate(LABELS)}
    products.options += tuple(Option(ids[label], label) for label in LABELS)
    core = products.options[0].id
    world.fields["deal"]["po_number"].label = PO_LABEL
    ending = () if source == "copper" else (Wanted("Done", "won", 1.0), Wanted("Gone", "lost", 0.0))
    for name in TWINS:
        _pipeline(app, name, [Wanted("Start", "open", 0.2), Wanted("Middle", "open", 0.6), *ending])
    users = {user.email: user for user in world.users.values()}
    ann = users["alex.morgan@example.com"].id
    company = world.create_company(name="Loss & Söhne GmbH", domain="loss.example", owner_id=ann)
    people = [
        world.create_contact(
            first=first, last="Loss", emails=(f"{first.lower()}@loss.example",) if first != "Nomail" else (),
            phones=(), company_id=company.id, owner_id=ann, custom={},
        ).id
        for first in ("Ada", "Bob", "Cleo", "Nomail")
    ]  # fmt: skip
    line = next(one for one in world.pipelines.values() if one.name == TWINS[0])
    other = next(one for one in world.pipelines.values() if one.name == TWINS[1])
    start, middle = line.stages[:2]
    late, early = local(world, DAY, time(23, 59, 30)), local(world, DAY + timedelta(days=1), time(0, 0, 10))
    step = timedelta(days=3)
    base: dict[str, Any] = {
        "name": "Plain", "amount": Decimal(1000), "currency": "USD", "company_id": company.id,
        "contact_ids": (people[0],), "owner_id": ann, "pipeline_id": line.id, "stage_id": start.id,
        "expected_close": date(2027, 5, 1),
    }  # fmt: skip

    def ended(at: datetime) -> dict[str, Any]:
        """A deal that was won after three days."""
        visits = Visit(start.id, at - step, ann), Visit(line.stages[2].id if ending else start.id, at, ann)
        times = {"created": at - step, "stage_entered": at, "closed_at": at, "history": visits}
        return {**won, **times, "expected_close": at.astimezone(ZoneInfo(world.time_zone)).date()}

    inactive = next(user.id for user in world.users.values() if not user.active and "@example" in user.email)
    stranger = next(user.id for user in world.users.values() if user.active and source in user.email)
    won = {"stage_id": line.stages[2].id} if ending else {"status": "won"}
    lost = {"stage_id": line.stages[3].id} if ending else {"status": "lost"}
    wanted: dict[str, dict[str, Any]] = {
        "plain": {},
        "fraction": {"amount": Decimal("1234.56")},
        "cent": {"amount": Decimal("0.01")},
        "large": {"amount": Decimal("123456789012.34")},
        "zero": {"amount": Decimal(0)},
        "unknown amount": {"amount": None},
        "euro": {"currency": "EUR"},
        "odd currency": {"currency": list(world.rates)[-1]},
        "leap day": {"expected_close": date(2024, 2, 29)},
        "new year": {"expected_close": date(2027, 1, 1)},
        "no day": {"expected_close": None},
        "late": ended(late),
        "early": ended(early),
        "born late": {"created": late},
        "born early": {"created": early},
        "choices": {"custom": {"products": (core, *ids.values())}},
        "one choice": {"custom": {"products": (ids[LABELS[1]],)}},
        "labelled": {"custom": {"po_number": "PO-1"}},
        "emoji": {"name": "🚀 Rocket – 日本 עברית"},
        "long": {"name": LONG},
        "twin": {"pipeline_id": other.id, "stage_id": other.stages[0].id},
        "won": won,
        "lost": {**lost, "lost_reason": "Price"},
        "inactive": {"owner_id": inactive},
        "stranger": {"owner_id": stranger},
        "no address": {"contact_ids": (people[3],)},
        "several": {"contact_ids": tuple(people[:3])},
        "tagged": {"source": "Referral", "tags": ("upsell", "Q4")},
        "moved": {
            "stage_id": middle.id, "created": late, "stage_entered": late + step,
            "history": (Visit(start.id, late, ann), Visit(middle.id, late + step, ann)),
        },
    }  # fmt: skip
    if source != "close":
        wanted["no company"] = {"company_id": None}
    if source != "hubspot":
        wanted["likely"] = {"probability": 0.42}
    if source == "copper":
        wanted["abandoned"] = {"status": "abandoned"}
    if source == "hubspot":
        wanted["forecast"] = {"custom": {KEPT + "hs_manual_forecast_category": "BEST_CASE"}}
    found = {label: world.create_deal(**{**base, **fields}).id for label, fields in wanted.items()}
    for label, text in (("plain", PLAIN), ("euro", "one line")):
        world.add_note(
            deal_id=found[label], company_id=company.id if source == "close" else None, contact_id=None,
            author_id=ann if label == "plain" else inactive, text=text, created=late, modified=late,
            # HubSpot's editor leaves HTML.
            custom={KEPT + "hs_note_body": (text, HTML)} if source == "hubspot" and text is PLAIN else {},
        )  # fmt: skip
    if isinstance(app, HubSpotApp):
        second = world.create_company(name="Second GmbH", domain="second.example", owner_id=ann)
        app.portal.book.put(("deal", "company"), found["several"], second.id, frozenset({341}))
    return found


def _pipeline(app: VendorApp, name: str, stages: Sequence[Wanted]) -> None:
    click_pipeline(app, name, stages)
    if isinstance(app, ZohoApp):  # there a click makes stages, and the API pipelines of them
        made = {(one.name, one.outcome): one for one in app.org.spare_stages}
        native = str(max(map(int, app.world.pipelines)) + 8)
        held = [
            replace(made[one.name, one.outcome], order=order, extra=dict(made[one.name, one.outcome].extra))
            for order, one in enumerate(stages)
        ]
        app.world.pipelines[native] = Pipeline(
            native, name, len(app.world.pipelines), held, extra={"default": False}
        )


class _Shell:
    """`crmkit` at a shell, without fixtures."""

    def __call__(self, *arguments: str) -> Result:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main(arguments)
        return Result(int(end.value.code or 0), out.getvalue(), err.getvalue())


@contextmanager
def _up(folder: Path) -> Iterator[Any]:
    boxes: list[Sandbox] = []

    def start(*crms: str, **options: Any) -> Sandbox:
        box = Sandbox.seeded(list(crms), **{"seed": 5, "limits": "off", **options})
        box.start()
        boxes.append(box)
        workspace.write(folder, local_crms(box.apps))
        return box

    try:
        yield start
    finally:
        for box in boxes:
            box.stop()
    assert all(app.crashes == [] for box in boxes for app in box.apps.values())


def moved(folder: Path, source: str, target: str) -> Moved:
    """Move the awkward records from one CRM to the other."""
    with pytest.MonkeyPatch.context() as patch, _up(folder) as up:
        patch.chdir(folder)
        patch.setenv("NO_COLOR", "1")
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        patch.setattr("crmkit.credentials.system_keyring", lambda: None)
        move = open_move(_Shell(), up, folder, patch, source, target, deals=1, there=1, awkward=False)
        ids = plant_losses(move.box, source)
        move.settle()
        plan = move.shown("plan")[1]
        move.click()
        runs = [move.apply()]
        while runs[-1]["writes"]:
            runs.append(move.delta())
            assert len(runs) < 6, "every delta has something to write again"
        _, proof = move.proof()
        worlds = move.box[source].world, move.box[target].world
        return Moved(*worlds, ids, move.counterparts(), plan, runs, proof)
