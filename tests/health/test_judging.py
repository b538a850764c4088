"""Each subject judges what was found: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crmkit.connectors.quota import Quota
from crmkit.errors import AccessDenied, ConfigError, MissingScope, MissingSecret, NetworkFault
from crmkit.health import access, expiry, findings, freshness, machine, maps, settings, store, waiting
from crmkit.health.findings import Finding, Severity, failed, note, ok, serious, summary, waits, worst_first
from crmkit.health.store import GIB, StoreFile
from crmkit.mapping import lint
from crmkit.model import Kind, Workspace

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WRITES = access.Writes(["main"], [Kind.DEAL])


def only(found: Iterable[Finding]) -> Finding:
    [one] = found
    return one


def worse(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(one.check, one.severity.value) for one in found if one.severity is not Severity.OK]


class TestFindings:
    def test_the_worst_come_first_and_one_subject_stays_together(self) -> None:
        found = [
            ok("a", "x", ""),
            note("b", "x", ""),
            note("a", "y", ""),
            note("b", "z", ""),
            waits("b", "q", ""),
        ]
        assert [(one.subject, one.check) for one in worst_first(found)] == [
            ("b", "q"), ("a", "y"), ("b", "x"), ("b", "z"), ("a", "x"),
        ]  # fmt: skip

    def test_the_summary_counts_everything(self) -> None:
        found = [ok("a", "x", ""), ok("a", "y", ""), waits("a", "z", ""), note("b", "x", "")]
        assert summary(found) == "4 checks: 2 ok, 1 warning, 1 note"

    def test_what_several_in_a_row_need_is_said_once_for_all(self) -> None:
        same = {"hint": "Start it.", "command": "start"}
        found = [note("a", "x", "", **same), note("b", "x", "", **same), waits("c", "y", "", command="z")]
        assert [(one.subject, advice.hint, advice.command) for one, advice in findings.advised(found)] == [
            ("a", "", ""), ("b", "For these 2: Start it.", "start"), ("c", "", "z"),
        ]  # fmt: skip

    def test_what_matters_less_is_left_out(self) -> None:
        found = [ok("a", "x", ""), note("a", "y", ""), waits("a", "z", "")]
        assert [one.check for one in serious(found, Severity.WARNING)] == ["z"]

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7300, "2 hours"), (90_000, "1 day")],
    )
    def test_a_time_is_told_in_the_unit_that_fits(self, seconds: float, text: str) -> None:
        assert findings.age(seconds) == text

    @pytest.mark.parametrize(
        ("problem", "code", "command"),
        [
            (AccessDenied("crm: HTTP 401"), 7, "crmkit login crm"),
            (MissingScope("crm: no deals"), 7, ""),
            (MissingSecret("crm: none", hint="Run `chmod 600 x`."), 7, ""),
            (NetworkFault("crm: cut off"), 1, ""),
            (ConfigError("crm: no address"), 1, ""),
            (RuntimeError("boom"), 1, ""),
        ],
    )
    def test_a_check_that_fails_is_an_error_with_what_helps(
        self, problem: Exception, code: int, command: str
    ) -> None:
        found = failed("crm", "access", problem)
        assert (found.severity, found.exit_code, found.command) == (Severity.ERROR, code, command)
        assert not found.message.startswith("crm:")
        assert found.hint or found.command or isinstance(problem, ConfigError)


class TestMachine:
    WELL = machine.Machine((3, 12, 1), {"postgres": ()}, {"postgres": "`state`"}, "keyring.x", True, False)

    def test_a_machine_that_has_everything_is_well(self) -> None:
        assert worse(machine.check(self.WELL)) == []

    def test_a_missing_extra_is_named_with_what_installs_it(self) -> None:
        bare = machine.Machine(
            (3, 12, 1), {"postgres": ("psycopg",)}, {"postgres": "`state`"}, None, False, True
        )
        [found] = [one for one in machine.check(bare) if one.severity is Severity.ERROR]
        assert found.command == "pip install 'crmkit[postgres]'"
        assert "psycopg" in found.message

    @pytest.mark.parametrize(
        ("used", "folder", "severity"), [(True, False, "note"), (True, True, "ok"), (False, True, "ok")]
    )
    def test_no_keyring_is_worth_a_word_only_where_nothing_else_keeps_secrets(
        self, used: bool, folder: bool, severity: str
    ) -> None:
        found = machine.check(machine.Machine((3, 11, 0), {}, {}, None, used, folder))
        assert [one.severity.value for one in found if one.check == "keyring"] == [severity]

    def test_an_old_python_is_an_error(self) -> None:
        old = machine.Machine((3, 10, 9), {}, {}, "k", True, False)
        assert worse(machine.check(old)) == [("python", "error")]


def test_the_configuration_tells_renamed_settings_wrong_rules_and_missing_files() -> None:
    wrong = {"main": ConfigError("there is no rule 'best'", hint="Rules: ...")}
    found = settings.Configured("crmkit.toml", 2, 1, 0, ["x is now y"], wrong, {"report.rates_file": "r.csv"})
    assert worse(settings.check(found)) == [("renamed", "note"), ("rules", "error"), ("files", "error")]


class TestStore:
    WELL = StoreFile(Path("/s/state.db"), True, 0o100600, 0o40700, "ext4", 5 * 1024**2, 50 * GIB)

    def test_a_private_whole_file_on_a_local_disk_is_well(self) -> None:
        assert worse(store.check_file(self.WELL)) == []

    def test_a_file_that_is_not_there_yet_is_a_note(self) -> None:
        assert worse(store.check_file(StoreFile(Path("/s/x"), False, free=50 * GIB))) == [("file", "note")]

    @pytest.mark.parametrize(
        ("changed", "check", "severity"),
        [
            ({"mode": 0o100644, "folder_mode": 0o40755}, "permissions", "warning"),
            ({"file_system": "nfs4"}, "place", "warning"),
            ({"file_system": "fuse.sshfs"}, "place", "warning"),
            ({"free": GIB // 2}, "space", "warning"),
            ({"free": 1024}, "space", "error"),
            ({"size": 60 * GIB}, "space", "warning"),
            ({"faults": ["row 3 missing from index"]}, "integrity", "error"),
        ],
    )
    def test_what_endangers_it_is_told(self, changed: dict[str, object], check: str, severity: str) -> None:
        found = StoreFile(**{**{name: getattr(self.WELL, name) for name in StoreFile.__slots__}, **changed})
        assert worse(store.check_file(found)) == [(check, severity)]

    def test_a_file_that_others_could_read_is_safe_in_a_private_folder(self) -> None:
        found = StoreFile(Path("/s/state.db"), True, 0o100644, 0o40700, "", 1, 50 * GIB)
        assert worse(store.check_file(found)) == []

    @pytest.mark.parametrize(("version", "severity"), [(None, "note"), (3, "note"), (4, "ok"), (5, "error")])
    def test_only_a_newer_schema_is_an_error(self, version: int | None, severity: str) -> None:
        assert store.check_version(version, 4).severity.value == severity


class TestAccess:
    @pytest.mark.parametrize(
        ("seconds", "severity"),
        [(0.4, "ok"), (-29, "ok"), (31, "warning"), (-119, "warning"), (121, "error")],
    )
    def test_clocks_may_differ_by_less_than_the_margin(self, seconds: float, severity: str) -> None:
        assert access.check_clock("crm", seconds, 120.0).severity.value == severity

    def test_a_crm_that_does_not_tell_its_time_is_a_note(self) -> None:
        unknown = access.skew(Workspace(id="1", name="x"), NOW)
        assert access.check_clock("crm", unknown, 120.0).severity is Severity.NOTE

    def test_the_clock_ahead_of_the_crm_counts_upwards(self) -> None:
        assert access.skew(Workspace(id="1", name="x", server_time=NOW - HOUR), NOW) == 3600

    def test_without_any_secret_a_person_has_to_log_in(self) -> None:
        found = access.check_secrets("crm", [], ["token"])
        assert (found.exit_code, found.command) == (7, "crmkit login crm")
        assert access.check_secrets("crm", [], []).severity is Severity.OK

    def test_missing_rights_to_write_are_credentials(self) -> None:
        found = access.check_rights("crm", ["the scope deals.write"], WRITES)
        assert (found.exit_code, found.severity) == (7, Severity.ERROR)
        assert "main" in found.message
        assert access.check_rights("crm", [], WRITES).severity is Severity.OK

    def test_a_missing_key_field_is_a_note_as_the_first_run_makes_it(self) -> None:
        assert access.check_key_fields("crm", ["the field crmkit_uid"], WRITES).severity is Severity.NOTE

    @pytest.mark.parametrize(
        ("quota", "severity"),
        [
            (None, "ok"),
            (Quota(100, 50), "ok"),
            (Quota(100, 19), "warning"),
            (Quota(100, 0), "error"),
            (Quota(100, 3, short=True), "ok"),
        ],
    )
    def test_a_budget_of_a_day_that_nears_its_end_is_told(self, quota: Quota | None, severity: str) -> None:
        assert only(access.check_quota("crm", quota, NOW)).severity.value == severity

    def test_a_budget_tells_when_it_comes_back(self) -> None:
        found = only(access.check_quota("crm", Quota(100, 50, 50, NOW + 3 * HOUR), NOW))
        assert found.message.endswith("comes back in 3 hours")

    def test_only_a_crm_on_this_machine_points_to_the_sandbox(self) -> None:
        near, far = (
            access.sandbox_down(failed("crm", "access", NetworkFault(f"crm: no answer ({host})")), Path("/w"))
            for host in ("127.0.0.1:8100", "api.example.com")
        )
        assert (near.command, far.command) == ("crmkit sandbox up --workspace /w", "")


@pytest.mark.parametrize(
    ("left", "severity", "code"), [(30 * DAY, "ok", 0), (5 * DAY, "warning", 0), (-HOUR, "error", 7)]
)
def test_a_secret_that_ends_soon_is_told_before(left: timedelta, severity: str, code: int) -> None:
    found = only(expiry.check("crm", [expiry.Expiry("client_secret", NOW + left)], NOW))
    assert (found.severity.value, found.exit_code) == (severity, code)


class TestMaps:
    @staticmethod
    def finding(severity: lint.Severity, code: str) -> lint.Finding:
        return lint.Finding(severity, code, f"the {code}", "do", "crm")

    def test_a_map_without_a_line_points_to_suggestions(self) -> None:
        found = maps.check("crm", [], stages=7, mapped=0, written=False)
        assert (found.exit_code, found.command) == (4, "crmkit stages suggest crm")

    def test_findings_are_counted_by_sort_and_notes_left_to_the_linter(self) -> None:
        given = [self.finding(lint.Severity.ERROR, "unmapped-stage")] * 2
        given += [self.finding(lint.Severity.WARNING, "name-clash"), self.finding(lint.Severity.NOTE, "x")]
        found = maps.check("crm", given, stages=7, mapped=5, written=False)
        assert found.message == (
            "stage map: 2 stages have no common stage; 1 stage is named like an outcome that it does not have"
        )
        assert found.exit_code == 4

    def test_a_map_without_defaults_matters_only_where_somebody_writes(self) -> None:
        given = [self.finding(lint.Severity.WARNING, "no-default")]
        assert maps.check("crm", given, stages=7, mapped=7, written=False).severity is Severity.OK
        written = maps.check("crm", given, stages=7, mapped=7, written=True)
        assert (written.severity, written.exit_code) == (Severity.WARNING, 0)


class TestFreshness:
    @staticmethod
    def run(outcome: str | None, ago: timedelta = HOUR, **more: object) -> freshness.LastRun:
        ended = None if outcome is None else NOW - ago
        return freshness.LastRun(7, "sync", NOW - ago, ended, outcome, None, **more)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("outcome", "ago", "severity"),
        [
            ("done", HOUR, "ok"),
            ("held", 2 * DAY, "note"),
            ("done", 8 * DAY, "warning"),
            ("failed", HOUR, "warning"),
            ("interrupted", HOUR, "warning"),
            (None, HOUR, "warning"),
        ],
    )
    def test_an_old_or_failed_pull_is_told(self, outcome: str | None, ago: timedelta, severity: str) -> None:
        last = self.run(outcome, ago)
        whole = last.started_at if outcome in ("done", "held") else None
        found = freshness.check_pull("crm", whole, last, NOW, wanted_within=DAY)
        assert found.severity.value == severity
        assert severity == "ok" or found.command == "crmkit pull crm"

    def test_a_pull_that_runs_is_well(self) -> None:
        found = freshness.check_pull("crm", None, self.run(None, under_way=True), NOW, wanted_within=DAY)
        assert found.severity is Severity.OK

    def test_a_longer_interval_between_sweeps_is_not_old(self) -> None:
        found = freshness.check_pull(
            "crm", NOW - 9 * DAY, self.run("done", 9 * DAY), NOW, wanted_within=10 * DAY
        )
        assert found.severity is Severity.OK

    @pytest.mark.parametrize(
        ("outcome", "severity", "command"),
        [
            ("done", "ok", ""),
            ("exit 4", "ok", ""),
            ("exit 5", "warning", "crmkit resume main"),
            (None, "warning", "crmkit resume main"),
            ("failed", "warning", "crmkit plan main"),
        ],
    )
    def test_a_run_that_ended_badly_says_what_goes_on(
        self, outcome: str | None, severity: str, command: str
    ) -> None:
        found = freshness.check_sync("main", self.run(outcome), NOW)
        assert (found.severity.value, found.command) == (severity, command)

    def test_what_was_never_run_is_a_note(self) -> None:
        assert freshness.check_sync("main", None, NOW).severity is Severity.NOTE
        assert freshness.check_pull("crm", None, None, NOW, wanted_within=DAY).severity is Severity.NOTE


class TestWaiting:
    def test_everything_that_waits_is_told_with_its_command(self) -> None:
        left = waiting.Left(2, NOW - 2 * DAY, 1, 3, 4, resume="crmkit resume main")
        found = [one for one in waiting.check_left("main", left, NOW) if one.severity is not Severity.OK]
        assert [(one.check, one.exit_code, one.command) for one in found] == [
            ("conflicts", 4, "crmkit conflicts list main"),
            ("links", 4, "crmkit links review"),
            ("refused", 4, "crmkit refused main"),
            ("unknown", 0, "crmkit resume main"),
        ]
        assert found[0].message == "2 conflicts wait for a decision, the oldest for 2 days"

    def test_writes_of_a_run_under_way_are_not_unknown(self) -> None:
        assert worse(waiting.check_left("main", waiting.Left(unknown=4, under_way=True), NOW)) == []

    def test_quarantine_waits_for_a_person(self) -> None:
        assert waiting.check_quarantine("crm", 0, None, NOW).severity is Severity.OK
        assert waiting.check_quarantine("crm", 2, NOW - DAY, NOW).exit_code == 4

    @pytest.mark.parametrize(
        ("gone", "ago", "severity"), [(True, HOUR, "note"), (False, HOUR, "ok"), (False, DAY, "note")]
    )
    def test_a_lease_of_the_dead_or_of_long_ago_is_a_note(
        self, gone: bool, ago: timedelta, severity: str
    ) -> None:
        found = waiting.check_lease(waiting.HeldLease("pull:crm", "host:12", NOW - ago, gone), NOW)
        assert found.severity.value == severity
