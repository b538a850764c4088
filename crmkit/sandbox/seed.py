"""Fills worlds: the same arguments make the same worlds again."""

from __future__ import annotations

import gc
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from crmkit.sandbox import names
from crmkit.sandbox.clock import Clock
from crmkit.sandbox.names import pick
from crmkit.sandbox.overlap import (
    SHARED_USERS,
    TrueCompany,
    TrueDeal,
    TruePerson,
    Truth,
    draw_truth,
    gone_deals,
)
from crmkit.sandbox.rows import (
    Company,
    Contact,
    CustomField,
    Deal,
    Deleted,
    FieldType,
    Merged,
    Note,
    Option,
    Pipeline,
    Stage,
    User,
    Visit,
)
from crmkit.sandbox.vendor import VendorSeed
from crmkit.sandbox.world import World

KEY_FIELD = "crmkit_key"
BURST_SHARE = 0.03
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _DAY = 3_600_000_000, 86_400_000_000  # microseconds
_WHOLE = {"JPY", "KRW", "VND", "CLP", "HUF"}
_NOTHING: dict[str, Any] = {}
_FIELDS: tuple[tuple[str, str, FieldType, tuple[str, ...]], ...] = (
    ("region", "Region", "picklist", ("EMEA", "Americas", "Asia-Pacific")),
    ("products", "Products", "multiselect", ("Core", "Analytics", "Add-on", "Größe L")),
    ("seats", "Seats", "number", ()),
    ("contract_end", "Contract end", "date", ()),
    ("po_number", "PO number", "text", ()),
    ("is_strategic", "Strategic?", "checkbox", ()),
)


def seed_worlds(
    crms: Mapping[str, VendorSeed],
    *,
    deals: int | Mapping[str, int],
    seed: int,
    now: datetime,
    clock: Clock | None = None,
) -> dict[str, World]:
    """Make a filled world for each CRM.

    Args:
        crms: What each CRM is like, by name.
        deals: How many live deals each holds; a quarter as many companies, a third as many contacts.
        seed: Other seeds make other worlds.
        now: Nothing in the worlds is younger.
        clock: What the worlds go by afterwards; the real time if absent.
    """
    ordered = {crm: crms[crm] for crm in sorted(crms)}
    counts = {crm: deals if isinstance(deals, int) else deals[crm] for crm in ordered}
    moment = _micros(now)
    collecting = gc.isenabled()
    gc.disable()  # hundreds of thousands of new objects, none of them garbage: collecting doubles the time
    try:
        truth = draw_truth(ordered, counts, seed, moment)
        filled = {
            crm: _Filler(crm, number, vendor, counts[crm], seed, moment, clock).fill(truth)
            for number, (crm, vendor) in enumerate(ordered.items())
        }
    finally:
        if collecting:
            gc.enable()
    return {crm: filled[crm] for crm in crms}


class _Filler:
    """Writes what one CRM knows of the truth into its world, in its own spelling."""

    def __init__(
        self, crm: str, number: int, vendor: VendorSeed, deals: int, seed: int, now: int, clock: Clock | None
    ) -> None:
        self.crm, self.number, self.vendor, self.count, self.now = crm, number, vendor, deals, now
        self.rng = random.Random(f"{seed}-{crm}")
        self.step = vendor.step_microseconds
        self.ids = vendor.make_ids(seed)
        self.world = World(
            crm=crm,
            workspace_id=vendor.workspace_id,
            workspace_name=vendor.workspace_name,
            ids=self.ids,
            id_key=vendor.id_key,
            time_zone=vendor.time_zone,
            base_currency=next(iter(vendor.currencies)),
            rates=vendor.currencies,
            step_microseconds=vendor.step_microseconds,
            status_follows_stage=vendor.status_follows_stage,
            clock=clock,
        )
        self.users: list[User] = []
        self.company_ids: dict[int, str] = {}
        self.company_names: dict[int, str] = {}
        self.contact_ids: dict[int, list[str]] = {}
        self.all_contact_ids: list[str] = []
        self.pipelines: list[tuple[Pipeline, dict[str, list[Stage]]]] = []

    def fill(self, truth: Truth) -> World:
        self._pipelines()
        self._fields()
        self._users()
        mine = [company for company in truth.companies if self.crm in company.members]
        start, span = self.now - 2000 * _DAY, 900 * _DAY
        for place, company in enumerate(mine):
            self._company(company, start + span * place // max(len(mine), 1))
        people = [
            (company, person) for company in mine for person in company.people if self.crm in person.members
        ]
        self._contacts(people, start + span)
        self._deals([deal for deal in truth.deals if self.crm in deal.members])
        return self.world

    def _pipelines(self) -> None:
        for pipeline in self.vendor.pipelines():
            self.world.pipelines[pipeline.id] = pipeline
            stages: dict[str, list[Stage]] = {"open": [], "won": [], "lost": []}
            for stage in pipeline.stages:
                stages[stage.outcome].append(stage)
            self.pipelines.append((pipeline, stages))

    def _fields(self) -> None:
        field_id, option_id = self.ids.get("field"), self.ids.get("option")
        wanted = _FIELDS if self.vendor.custom_fields else ()
        if self.vendor.key_field:
            wanted = (*wanted, (KEY_FIELD, "crmkit key", "text", ()))
        for key, label, type_, labels in wanted:
            options = tuple(Option(option_id() if option_id else text, text) for text in labels)
            self.world.fields["deal"][key] = CustomField(
                field_id() if field_id else key, key, label, type_, options
            )

    def _users(self) -> None:
        for place, name in enumerate(names.USERS):
            shared = place < SHARED_USERS
            host = "example.com" if shared else f"{self.crm}.example.com"
            user = User(
                id=self.ids["user"](),
                name=name,
                email=f"{names.slug(name.split()[0])}.{names.slug(name.split()[1])}@{host}",
                active=place not in {SHARED_USERS - 1, len(names.USERS) - 1},
                created=self._time(self.now - 2100 * _DAY + place * _HOUR),
            )
            self.users.append(user)
            self.world.load("user", user)

    def _company(self, company: TrueCompany, created: int) -> None:
        rng = self.rng
        city, country, postcode, code, area = names.PLACES[company.place]
        variant = int(rng.random() * 6) if len(company.members) == 1 else self.number
        name = names.spell_company(company.stem, company.form, variant)
        # A shared company that hides its domain here can still be told by its phone.
        domain = company.domain if rng.random() < 0.93 or company.number is None else None
        row = Company(
            id=self.ids["company"](),
            name=name,
            domain=domain,
            phone=names.spell_phone(code, area, company.number, variant) if company.number else None,
            street=company.street,
            city=city,
            country=country,
            postcode=postcode,
            owner_id=self._owner(int(rng.random() * SHARED_USERS)),
            custom=_NOTHING,
            created=self._time(created),
            modified=self._time(created + int(rng.random() * (self.now - created))),
        )
        self.company_ids[id(company)] = row.id
        self.company_names[id(company)] = company.stem if variant % 2 else name
        self.world.load("company", row)

    def _contacts(self, people: list[tuple[TrueCompany, TruePerson]], start: int) -> None:
        rng = self.rng
        wanted = self.count // 3
        span = max(self.now - start - 1100 * _DAY, _DAY)
        for place in range(max(wanted, 1)):
            company, person = people[place] if place < len(people) else (None, self._stranger(place))
            first, last = person.first, person.last
            if rng.random() < 0.1:
                first, last = names.plain(first), names.plain(last).upper()
            created = start + span * place // max(wanted, 1)
            _, _, _, code, area = names.PLACES[company.place if company else 0]
            row = Contact(
                id=self.ids["contact"](),
                first=first,
                last=last,
                emails=(person.email if rng.random() < 0.8 else person.email.title(),)
                if person.email
                else (),
                phones=(names.spell_phone(code, area, person.number, self.number),)
                if rng.random() < 0.6
                else (),
                company_id=self.company_ids[id(company)] if company else None,
                owner_id=self._owner(int(rng.random() * SHARED_USERS)),
                custom=_NOTHING,
                created=self._time(created),
                modified=self._time(created + int(rng.random() * (self.now - created))),
            )
            if company:
                self.contact_ids.setdefault(id(company), []).append(row.id)
            self.all_contact_ids.append(row.id)
            self.world.load("contact", row)

    def _stranger(self, place: int) -> TruePerson:
        first, last = pick(self.rng, names.FIRST), pick(self.rng, names.LAST)
        email = f"{names.slug(first)}.{names.slug(last)}{place}@{self.crm}.example.org"
        return TruePerson(first, last, email, int(self.rng.random() * 10**7), [self.crm])

    def _deals(self, deals: list[TrueDeal]) -> None:
        rng = self.rng
        timed = [(self._created(deal), place, deal) for place, deal in enumerate(deals)]
        timed.sort()
        total = len(timed)
        first = total // 2
        burst = range(first, first + (max(2, int(total * BURST_SHARE)) if total >= 20 else 0))
        # An import: these rows were all created in one second and nobody has touched them since.
        burst_time = timed[burst[-1]][0] // 1_000_000 * 1_000_000 if burst else 0
        timed = [
            (burst_time if place in burst else created, place, deal)
            for place, (created, _, deal) in enumerate(timed)
        ]
        alone = [
            place for place, (_, _, deal) in enumerate(timed) if len(deal.members) == 1 and place not in burst
        ]
        gone = set(rng.sample(alone, min(gone_deals(self.count), len(alone), max(total - 1, 0))))
        lost_rows = []
        for created, place, deal in timed:
            row = self._deal(deal, created, place in burst)
            if place in gone:
                lost_rows.append(row)
                continue
            self.world.load("deal", row)
            if rng.random() < 0.25:
                self._note(row)
        self._let_go(lost_rows)

    def _created(self, deal: TrueDeal) -> int:
        # Two CRMs hear of the same deal hours apart.
        late = int(self.rng.random() * 40 * _HOUR) if len(deal.members) > 1 else 0
        return min(deal.created + late, self.now - _HOUR)

    def _deal(self, deal: TrueDeal, created: int, burst: bool) -> Deal:
        rng, vendor = self.rng, self.vendor
        shared = len(deal.members) > 1
        outcome, progress = deal.outcome, deal.progress
        if shared and rng.random() < 0.3:
            progress = min(max(progress + rng.random() * 0.5 - 0.25, 0.0), 0.999)
        if shared and outcome != "open" and rng.random() < 0.08:
            outcome, progress = "open", 0.95
        pipeline, stages = self.pipelines[
            0 if rng.random() < 0.7 else int(rng.random() * len(self.pipelines))
        ]
        stage, status = _stage_of(stages, outcome, progress, rng.random())
        if not vendor.status_follows_stage and status == "lost" and rng.random() < 0.3:
            status = "abandoned"
        age = self.now - created
        entered = created if burst else created + int(age * rng.random() * 0.6)
        if status != "open" and not burst:
            # Every CRM that knows a deal learns of its end at about the same time.
            entered = min(created + (deal.close_days or 45) * _DAY, self.now - 2 * _HOUR)
        modified = (
            entered if burst or rng.random() < 0.1 else entered + int((self.now - entered) * rng.random())
        )
        owner = self._owner(deal.owner)
        history = self._history(stages["open"], stage, created, entered, owner)
        close = self._close_day(deal, shared)
        entered_at = history[-1].at
        if status != "open" and close is not None and rng.random() < 0.9:
            close = entered_at.date()  # people set the date to the day on which they close a deal
        return Deal(
            id=self.ids["deal"](),
            name=self._name(deal) if vendor.named_deals else "",
            amount=self._amount(deal, shared),
            currency=deal.currency,
            value_period=pick(rng, vendor.value_periods),
            pipeline_id=pipeline.id,
            stage_id=stage.id,
            status=status,
            owner_id=owner,
            company_id=self.company_ids[id(deal.company)] if deal.company else None,
            contact_ids=self._contacts_of(deal.company),
            expected_close=close,
            closed_at=None if status == "open" else entered_at,
            probability=round(rng.random(), 2) if vendor.deal_probability and status == "open" else None,
            source=names.SOURCES[int(rng.random() * len(names.SOURCES))],
            tags=(pick(rng, names.TAGS),) if rng.random() < 0.2 else (),
            custom=self._custom(deal),
            created=self._time(created),
            modified=self._time(modified),
            stage_entered=entered_at,
            last_activity=entered_at if rng.random() < 0.7 else None,
            lost_reason=names.LOST_REASONS[int(rng.random() * 6)]
            if status in ("lost", "abandoned")
            else None,
            history=history,
        )

    def _name(self, deal: TrueDeal) -> str:
        if self.rng.random() < 0.03:
            return pick(self.rng, names.AWKWARD)
        company = self.company_names[id(deal.company)] if deal.company else "New customer"
        year = 1970 + deal.created // (365_25 * _DAY // 100)
        variant = self.number + (self.rng.random() < 0.2)
        return names.spell_deal(company, deal.product, year, variant)

    def _amount(self, deal: TrueDeal, shared: bool) -> Decimal | None:
        minor = deal.amount
        if minor is None:
            return None
        if shared and self.rng.random() < 0.15:
            minor = int(minor * (0.95 + self.rng.random() * 0.1)) // 100 * 100
        return Decimal(minor // 100) if deal.currency in _WHOLE else Decimal(minor).scaleb(-2)

    def _close_day(self, deal: TrueDeal, shared: bool) -> date | None:
        if deal.close_days is None:
            return None
        days = deal.created // _DAY + deal.close_days
        if shared and self.rng.random() < 0.2:
            days += int(self.rng.random() * 21) - 7
        return date.fromordinal(719_163 + days)  # 719163 is 1970-01-01

    def _contacts_of(self, company: TrueCompany | None) -> tuple[str, ...]:
        rng = self.rng
        draw = rng.random()
        known = self.contact_ids.get(id(company), []) if company else []
        if draw < 0.15 or not known:
            return ()
        most = min(3, self.vendor.contacts_per_deal)
        if draw > 0.95 and most > len(known) and not self.vendor.deals_need_company:
            strangers = [pick(rng, self.all_contact_ids) for _ in range(most)]
            return tuple(dict.fromkeys([*known, *strangers]))[:most]
        return tuple(known[: 1 + int(rng.random() * most)])

    def _custom(self, deal: TrueDeal) -> dict[str, Any]:
        rng = self.rng
        fields = self.world.fields["deal"]
        custom: dict[str, Any] = {}
        if self.vendor.custom_fields and rng.random() < 0.5:
            regions, products = fields["region"].options, fields["products"].options
            custom["region"] = regions[int(rng.random() * len(regions))].id
            if rng.random() < 0.4:
                custom["products"] = tuple(option.id for option in products if rng.random() < 0.5)
                custom["seats"] = int(rng.random() * 500)
            if rng.random() < 0.3:
                custom["contract_end"] = date(2027, 1 + int(rng.random() * 12), 28)
                custom["po_number"] = f"PO-{int(rng.random() * 10**6):06}"
            if rng.random() < 0.3:
                custom["is_strategic"] = rng.random() < 0.5
        if deal.key and KEY_FIELD in fields:
            custom[KEY_FIELD] = deal.key
        return custom or _NOTHING

    def _history(
        self, opens: list[Stage], stage: Stage, created: int, entered: int, by: str | None
    ) -> tuple[Visit, ...]:
        place = opens.index(stage) if stage in opens else len(opens)
        before = opens[:place] if entered > created else []
        passed = (
            before[:1]
            if len(before) < 2
            else [before[0], before[int(self.rng.random() * (len(before) - 1)) + 1]]
        )
        steps = [*passed, stage]
        gap = (entered - created) // max(len(steps) - 1, 1)
        return tuple(Visit(step.id, self._time(created + gap * turn), by) for turn, step in enumerate(steps))

    def _note(self, deal: Deal) -> None:
        user = self.users[int(self.rng.random() * len(self.users))]
        note = Note(
            id=self.ids["note"](),
            deal_id=deal.id,
            company_id=deal.company_id,
            author_id=user.id,
            text=pick(self.rng, names.NOTES),
            created=deal.stage_entered,
            modified=deal.stage_entered,
        )
        self.world.load("note", note)

    def _let_go(self, rows: list[Deal]) -> None:
        left = list(self.world.deals)
        for place, row in enumerate(rows):
            at = self._time(self.now - int((len(rows) - place) * 25 * _DAY / len(rows)))
            if place % 4 == 3 and left:
                winner = left[int(self.rng.random() * len(left))]
                self.world.merged.append(Merged("deal", row.id, winner, at, row))
            else:
                self.world.deleted.append(Deleted("deal", row.id, at, row, row.owner_id))

    def _owner(self, place: int) -> str | None:
        draw = self.rng.random()
        if draw < 0.04 and not self.vendor.deals_need_owner:
            return None
        if draw > 0.8:  # somebody whom only this CRM knows
            place = SHARED_USERS + int(self.rng.random() * (len(self.users) - SHARED_USERS))
        return self.users[place].id

    def _time(self, micros: int) -> datetime:
        micros -= micros % self.step
        return _EPOCH + timedelta(0, 0, micros)


def _stage_of(
    stages: Mapping[str, list[Stage]], outcome: str, progress: float, draw: float
) -> tuple[Stage, str]:
    final = stages.get(outcome, []) if outcome != "open" else []
    if final:
        return final[int(draw * len(final))], outcome
    opens = stages["open"]
    return opens[int(progress * len(opens))], outcome


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
