"""Rehearsals through the command line: one sandbox plays production, another one holds the twins."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crmkit import config, workspace
from crmkit.connectors import registry
from crmkit.rehearsing import ReadingSession
from crmkit.sandbox.server import Sandbox
from crmkit.session import Session
from tests.scenarios.conftest import Crmkit, Result
from tests.scenarios.migrating import Move, open_move
from tests.scenarios.syncing import Desk, open_desk

DEALS = 30
# Nothing of this may be found in a kept folder: a person, a company, what was said, how to reach them.
PLANTED: Mapping[str, str] = {
    "first": "Quentina",
    "last": "Zwolinskowa",
    "company": "Brackwater",
    "mail": "quentina.zwolinskowa",
    "phone": "5550173942",
    "note": "confidentially whispered",
    "deal": "Umbrellium",
    "text": "verbatimly typed",
}
Opens = Callable[..., Move]


@pytest.fixture
def move_of(
    crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Opens:
    """Opens a workspace on production: `move_of("hubspot", "zoho")`."""
    folder = tmp_path

    def opened(source: str, target: str, **options: Any) -> Move:
        move = open_move(crmkit, up, folder, monkeypatch, source, target, **{"deals": DEALS, **options})
        _plant(move.box, source)
        for app in move.box.apps.values():
            app.requests.clear()
        return move

    return opened


@pytest.fixture
def desk(crmkit: Crmkit, up: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A workspace with the sync `main` over production."""
    found = open_desk(crmkit, up, tmp_path, monkeypatch, ["hubspot", "zoho"], deals=DEALS)
    _plant(found.box, "hubspot")
    return found


def _plant(box: Sandbox, crm: str) -> None:
    """Put texts into production that are easily found again."""
    world = box[crm].world
    owner = next(user.id for user in world.users.values() if user.active)
    company = world.create_company(
        name=f"{PLANTED['company']} Holdings", domain="brackwater.com", phone=f"+49 30 {PLANTED['phone']}",
        owner_id=owner, custom={},
    )  # fmt: skip
    person = world.create_contact(
        first=PLANTED["first"], last=PLANTED["last"], emails=(f"{PLANTED['mail']}@brackwater.com",),
        phones=(f"+49 30 {PLANTED['phone']}",), company_id=company.id, owner_id=owner, custom={},
    )  # fmt: skip
    some = next(iter(world.deals.values()))
    text = next((one for one in world.fields["deal"].values() if one.type == "text"), None)
    deal = world.create_deal(
        name=f"{PLANTED['deal']} rollout", company_id=company.id, contact_ids=(person.id,), owner_id=owner,
        pipeline_id=some.pipeline_id, stage_id=some.stage_id,
        custom={text.key: PLANTED["text"]} if text is not None else {},
    )  # fmt: skip
    world.add_note(
        deal_id=deal.id, company_id=None, contact_id=None, author_id=owner, text=f"{PLANTED['note']} to us"
    )


def rehearsed(move: Move, *options: str) -> tuple[int, Any]:
    """Exit code and JSON of a migration's rehearsal."""
    return shown(move.crmkit("--json", "rehearse", move.source, move.target, *options))


def shown(result: Result) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    assert result.out, result.err
    return result.code, json.loads(result.out)


def mutating(box: Sandbox) -> dict[str, int]:
    """Calls that production got which write."""
    return {name: app.requests.mutating for name, app in box.apps.items()}


def told(folder: Path, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Which texts are found in which files of a folder, in any case and in UTF-8 or UTF-16."""
    found = []
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        content = path.read_bytes().lower()
        for name, text in texts.items():
            spelled = text.lower()
            if spelled.encode() in content or spelled.encode("utf-16-le") in content:
                found.append((path.name, name))
    return found


# Migrations


@pytest.mark.parametrize(("source", "target"), [("hubspot", "zoho"), ("bitrix24", "copper")])
def test_a_masked_migration_goes_through_and_production_is_only_read(
    move_of: Opens, tmp_path: Path, source: str, target: str
) -> None:
    move = move_of(source, target)
    generations = {name: app.world.generation for name, app in move.box.apps.items()}
    code, document = rehearsed(move, "--keep", str(tmp_path / "kept"), "--out", str(tmp_path / "proof.json"))
    proof = document["proof"]
    assert (document["quiet"], document["runs"][-1]["writes"]) == (True, 0)
    assert proof["verdict"] in ("proven", "explained"), proof["findings"]
    assert (code, document["exit_code"], document["masked"]) == (4, 4, True)
    assert document["checklist"] != []  # neither target's API makes every stage
    counted = {one["kind"]: one for one in proof["counts"]}
    assert counted["deal"]["in_scope"] == len(move.box[source].world.deals)
    assert counted["deal"]["linked"] >= 0.5 * len(move.box[source].world.deals)
    cost = {one["connection"]: one for one in document["estimate"]}
    assert (cost[source]["requests"], cost[target]["requests"] > 0) == (0, True)
    assert document["requests"][target] > 0
    assert mutating(move.box) == {source: 0, target: 0}
    assert {name: app.world.generation for name, app in move.box.apps.items()} == generations
    assert told(move.folder / ".crmkit", PLANTED) != []  # the search finds what is there
    assert told(tmp_path / "kept", PLANTED) == []
    assert told_in(json.dumps(document, ensure_ascii=False)) == []
    assert told_in((tmp_path / "proof.json").read_text(encoding="utf-8")) == []


def told_in(text: str) -> list[str]:
    """Which of the planted texts are in a text."""
    return [name for name, planted in PLANTED.items() if planted.lower() in text.lower()]


def test_the_kept_workspace_has_productions_settings_and_none_of_its_secrets_or_addresses(
    move_of: Opens, tmp_path: Path
) -> None:
    move = move_of("hubspot", "zoho", deals=15, there=4)
    owner = next(user for user in move.box["hubspot"].world.users.values() if user.active)
    boss = next(user for user in move.box["zoho"].world.users.values() if user.active)
    move.decide(owners={owner.email: boss.email})
    production = tomllib.loads((tmp_path / "crmkit.toml").read_text(encoding="utf-8"))
    _secrets(tmp_path)
    rehearsed(move, "--keep", str(tmp_path / "kept"))
    kept = tomllib.loads((tmp_path / "kept/crmkit.toml").read_text(encoding="utf-8"))
    assert kept["report"] == production["report"]
    assert kept["syncs"] == production["syncs"]
    assert (kept["secrets"], kept["secrets_dir"]) == ("secrets_dir", ".crmkit/secrets")
    assert list(kept["connections"]) == ["hubspot", "zoho"]
    decided = kept["migrations"]["move"]
    assert {**decided, "owners": {}} == {**production["migrations"]["move"], "owners": {}}
    assert decided["owners"].keys() != {owner.email}
    addresses = [app.origin.partition("://")[2] for app in move.box.apps.values()]
    theirs = {f"address {at}": one for at, one in enumerate(addresses)} | {"secret": "production-secret"}
    assert told(tmp_path / "kept", theirs) == []
    assert told(tmp_path / "kept", {"who": owner.email, "boss": boss.email}) == []


def _secrets(folder: Path) -> None:
    """Give production a secret that is easily found again: nothing reads it."""
    path = folder / ".crmkit/secrets/hubspot.client_secret"
    path.write_text("production-secret", encoding="utf-8")
    path.chmod(0o600)


def test_decisions_about_owners_apply_to_their_pseudonyms(move_of: Opens) -> None:
    move = move_of("hubspot", "zoho", deals=25, there=4)
    there = [user for user in move.box["zoho"].world.users.values() if user.active]
    known = {user.email for user in there}
    homeless = [user for user in move.box["hubspot"].world.users.values() if user.email not in known]
    move.decide(owners={user.email: there[0].email for user in homeless})
    _, document = rehearsed(move, "--deals", "12")
    ways = {one["source_id"]: one["way"] for one in document["places"] if one["what"] == "owner"}
    decided = [ways[user.id] for user in homeless if user.id in ways]
    assert decided != []
    assert set(decided) == {"same"}


def test_a_sample_has_so_many_deals_and_says_what_it_lacks(move_of: Opens) -> None:
    move = move_of("hubspot", "zoho", deals=25, there=4)
    _, document = rehearsed(move, "--deals", "6")
    twin = document["twins"]["hubspot"]
    missing = len(move.box["hubspot"].world.deals) - 6
    assert (document["sample"], twin["records"]["deal"]) == (6, 6)
    assert f"{missing} deals outside the sample" in twin["left_out"]


def test_an_unmasked_rehearsal_has_the_real_names_and_is_told_step_by_step(
    move_of: Opens, tmp_path: Path
) -> None:
    move = move_of("hubspot", "zoho", deals=10, there=4)
    page = tmp_path / "proof.html"
    result = move.crmkit(
        "rehearse", "hubspot", "zoho", "--unmasked", "--keep", str(tmp_path / "kept"), "--html", str(page)
    )
    assert result.code == 4, result.err
    assert re.findall(r"^(\d)\. ", result.err, re.MULTILINE) == ["1", "2", "3", "4", "5", "6"]
    assert "In production, you click this first" in result.err
    assert "of the day's quota" in result.out
    assert ("state.db", "deal") in told(tmp_path / "kept", PLANTED)
    assert "<html" in page.read_text(encoding="utf-8")


def test_what_nobody_could_click_is_not_clicked_in_the_twin_either(move_of: Opens) -> None:
    move = move_of("hubspot", "bitrix24", deals=10, there=4)
    _, document = rehearsed(move, "--deals", "4")
    assert document["impossible"] != []
    assert all("a pipeline of Bitrix24 has one won stage" in one for one in document["impossible"])
    assert document["quiet"] is True


def test_secrets_of_a_rehearsal_come_from_its_folder_and_stay_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _workspace(tmp_path)
    elsewhere = _Ring({"hubspot:token": "production's"})
    monkeypatch.setattr("crmkit.credentials.system_keyring", lambda: elsewhere)
    monkeypatch.setenv("CRMKIT_HUBSPOT_TOKEN", "production's")
    loaded = config.load(tmp_path / "crmkit.toml", registry.OptionModels())
    secrets = Session(loaded).secrets("hubspot")
    assert secrets.find("token") is None
    secrets.put("token", SecretStr("made up"))
    assert secrets.get("token").get_secret_value() == "made up"
    assert elsewhere.kept == {"hubspot:token": "production's"}


class _Ring:
    """A system keyring."""

    def __init__(self, kept: dict[str, str]) -> None:
        self.kept = kept

    def get_password(self, service_name: str, username: str) -> str | None:
        return self.kept.get(username)

    def set_password(self, service_name: str, username: str, password: str) -> None:
        self.kept[username] = password

    def delete_password(self, service_name: str, username: str) -> None:
        del self.kept[username]


@pytest.mark.parametrize("read_only", [True, False])
def test_production_is_connected_to_read_only_whatever_is_asked_for(tmp_path: Path, read_only: bool) -> None:
    _workspace(tmp_path)
    session = ReadingSession.of(Session.open(tmp_path / "crmkit.toml"))
    assert session.connect("hubspot", read_only=read_only).context.read_only


# Syncs


def test_a_masked_sync_goes_through_and_production_is_only_read(desk: Desk, tmp_path: Path) -> None:
    for app in desk.box.apps.values():
        app.requests.clear()
    code, document = desk.shown("rehearse", "--sync", "main", "--keep", str(tmp_path / "kept"))
    assert document["plan"]["writes"] != []
    assert (document["quiet"], document["left"]["writes"]) == (True, [])
    assert (code, document["exit_code"], document["sync"]) == (4, 4, "main")
    assert {one["connection"] for one in document["estimate"]} == {"hubspot", "zoho"}
    assert mutating(desk.box) == {"hubspot": 0, "zoho": 0}
    assert told(tmp_path / "kept", PLANTED) == []
    kept = tomllib.loads((tmp_path / "kept/crmkit.toml").read_text(encoding="utf-8"))
    production = tomllib.loads((desk.folder / "crmkit.toml").read_text(encoding="utf-8"))
    assert kept["syncs"] == production["syncs"]
    assert (kept["secrets"], kept["secrets_dir"]) == ("secrets_dir", ".crmkit/secrets")
    stages = {name: table["stages"] for name, table in production["connections"].items()}
    assert {name: table["stages"] for name, table in kept["connections"].items()} == stages


# What is asked for


WRONG: Mapping[str, tuple[tuple[str, ...], str]] = {
    "an unknown connection": (("hubspot", "zohu"), "no connection 'zohu'"),
    "the same twice": (("hubspot", "hubspot"), "the same connection"),
    "one end": (("hubspot",), "a source and a target"),
    "nothing": ((), "a source and a target"),
    "both": (("hubspot", "zoho", "--sync", "main"), "not both"),
    "an unknown sync": (("--sync", "mian"), "no sync 'mian'"),
    "a sample of a sync": (("--sync", "main", "--deals", "5"), "pairs of deals"),
    "the proof of a sync": (("--sync", "main", "--html", "proof.html"), "no proof"),
    "a folder that is not there": (("hubspot", "zoho", "--out", "nowhere/proof.json"), "no folder nowhere"),
    "production's own folder": (("hubspot", "zoho", "--keep", "."), "of production itself"),
    "somebody's workspace": (("hubspot", "zoho", "--keep", "other"), "not made by a rehearsal"),
    "nothing pulled": (("hubspot", "zoho", "--no-pull"), "nothing has been pulled yet"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_rehearsed_is_told_before_anything_is_called(
    crmkit: Crmkit, tmp_path: Path, wrong: str
) -> None:
    _workspace(tmp_path)
    arguments, said = WRONG[wrong]
    result = crmkit("rehearse", *arguments)
    assert result.code in (1, 2)
    assert said in result.err


def test_a_crm_without_a_sandbox_is_told(crmkit: Crmkit, tmp_path: Path) -> None:
    (tmp_path / "crmkit.toml").write_text(
        '[connections.one]\ncrm = "memory"\n[connections.two]\ncrm = "memory"\n', encoding="utf-8"
    )
    result = crmkit("rehearse", "one", "two")
    assert (result.code, "no CRM called 'memory'" in result.err) == (1, True)


def _workspace(folder: Path) -> None:
    """Production whose CRMs nobody answers for, and somebody else's workspace beside it."""
    crms = {
        name: workspace.LocalCrm(name, {"base_url": "http://127.0.0.1:9"}, {}) for name in ("hubspot", "zoho")
    }
    workspace.write(folder, crms)
    (folder / "other").mkdir()
    (folder / "other/crmkit.toml").write_text("# mine\n", encoding="utf-8")
