"""What can go wrong, one tree. The class says what the caller may do.

CrmkitError                     exit 1   the root: anything crmkit raises on purpose
├─ UsageError                   exit 2   the command or the configuration is wrong
│   └─ ConfigError                       every problem of crmkit.toml in one message
├─ CredentialsError             exit 7   a person has to log in again or grant more
│   ├─ MissingSecret                     nothing stored under that name
│   ├─ AccessDenied                      the CRM refuses the credentials
│   └─ MissingScope                      the credentials work, but may not do this
├─ ConnectorError               exit 1   one connection cannot go on
│   ├─ Transient                         the only class that is retried
│   │   ├─ RateLimited                   not executed; wait as long as it says
│   │   ├─ ServerFault                   5xx
│   │   ├─ NetworkFault                  unreachable, timed out, cut
│   │   └─ BadAnswer                     the body is not what its headers promise
│   ├─ QuotaExhausted           exit 5   the day's budget is gone; a later run goes on
│   ├─ Unstable                 exit 5   it fails too often; the rest is left for the next run
│   ├─ OutcomeUnknown           exit 5   a write that may have happened: look, do not repeat
│   ├─ Rejected                          the CRM understood and refused
│   │   └─ NotFound
│   ├─ IncompleteRead           exit 5   the pages do not add up; the cursor stays
│   ├─ UnreadableRecord         exit 4   one record cannot be translated; the others go on
│   └─ Unsupported                       the CRM cannot, or crmkit does not yet
├─ StateError                   exit 1   the state store cannot be used
│   ├─ NewerState                        written by a newer crmkit
│   └─ Busy                     exit 8   somebody else holds the lease
├─ SyncError                    exit 1   a sync cannot be planned or applied
│   ├─ StalePlan                exit 6   the state moved on after the plan was made
│   └─ GuardTripped             exit 6   the plan looks like an accident; nothing was written
├─ ClockSkew                    exit 1   this machine's clock is too far off
├─ SandboxError                 exit 1   a sandbox server cannot start
└─ Interrupted                  exit 130 Ctrl-C; what was read is kept
"""

from __future__ import annotations

from typing import ClassVar


class CrmkitError(Exception):
    """Anything crmkit raises on purpose: what happened and, in `hint`, what to do next.

    Args:
        message: What happened and where, on one line, without secrets or personal data.
        hint: What helps; the class's own hint if absent.
    """

    exit_code: ClassVar[int] = 1
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class UsageError(CrmkitError):
    """The command, or what it was given, is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """crmkit.toml cannot be used; the message lists every problem with file and line."""


class CredentialsError(CrmkitError):
    """Somebody has to log in again or grant more."""

    exit_code = 7


class MissingSecret(CredentialsError):
    """No secret is stored under the name that a connection asked for."""


class AccessDenied(CredentialsError):
    """The CRM refuses the credentials: wrong, expired for good, or revoked."""

    hint = "Log in again with `crmkit login NAME`; `crmkit doctor` checks the connection."


class MissingScope(CredentialsError):
    """The credentials work, but lack a right that this call needs."""

    hint = "Grant the named scope in the CRM's own settings, then try again."


class ConnectorError(CrmkitError):
    """One connection cannot go on; the others are not concerned."""


class Transient(ConnectorError):
    """Worth trying again, after `retry_after_seconds` if the server said so."""

    hint = "Run the same command again: it goes on where it stopped."

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class RateLimited(Transient):
    """The CRM did not execute the call because of a limit.

    Args:
        message: What the CRM said.
        bucket: The limit that was hit, as the connector names it; `None` means all of them.
        retry_after_seconds: The server's own word, if it gave one.
    """

    def __init__(
        self,
        message: str,
        *,
        bucket: str | None = None,
        hint: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retry_after_seconds=retry_after_seconds)
        self.bucket = bucket


class ServerFault(Transient):
    """The CRM answered 5xx."""


class NetworkFault(Transient):
    """The host could not be reached, or the connection was cut or timed out.

    Args:
        message: What happened.
        sent: Whether the request may have reached the server.
    """

    hint = "Check the network and the connection's address, then run the command again."

    def __init__(self, message: str, *, hint: str | None = None, sent: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


class BadAnswer(Transient):
    """The body is cut, is not JSON, or is not the document the endpoint promises."""


class QuotaExhausted(ConnectorError):
    """The day's budget of calls is used up."""

    exit_code = 5
    hint = "The next run goes on where this one stopped."


class Unstable(ConnectorError):
    """The CRM fails too often to go on writing."""

    exit_code = 5
    hint = "What was not written stays due: the next run looks up what happened and goes on."


class OutcomeUnknown(ConnectorError):
    """A write whose answer never came: it may have happened. Look before trying again."""

    exit_code = 5


class Rejected(ConnectorError):
    """The CRM understood the call and refused it; repeating it will not help."""


class NotFound(Rejected):
    """The CRM says that there is no such record or address."""


class IncompleteRead(ConnectorError):
    """The pages of a walk do not add up (repeated token, fewer rows than promised)."""

    exit_code = 5
    hint = "Nothing was lost: the cursor stays where it was. Run the pull again."


class UnreadableRecord(ConnectorError):
    """One record holds a value that cannot be read as what its field should be.

    Args:
        record: The record's ref as text, for example `hubspot-us:deal:15231`.
        field: The vendor's name of the field.
        reason: What is wrong with it; must not quote personal data.
    """

    exit_code = 4

    def __init__(self, record: str, field: str, reason: str) -> None:
        super().__init__(f"{record}: field {field!r}: {reason}")
        self.record = record
        self.field = field
        self.reason = reason


class Unsupported(ConnectorError):
    """The CRM cannot do this, or crmkit does not yet; raised before any call is made."""


class StateError(CrmkitError):
    """The state store cannot be opened, read or written."""


class NewerState(StateError):
    """The state store was written by a newer crmkit."""

    hint = "Upgrade crmkit on this machine, or point `state` at another file."


class Busy(StateError):
    """Somebody else holds the lease; the message says who and since when.

    `lease` is its name, where that is known.
    """

    lease: str = ""

    exit_code = 8
    hint = "Wait for the other run to end; its lease frees itself if that process is gone."


class SyncError(CrmkitError):
    """A sync cannot be planned or applied."""


class StalePlan(SyncError):
    """The state moved on after the plan was made."""

    exit_code = 6
    hint = "Make a new plan with `crmkit plan`."


class GuardTripped(SyncError):
    """A plan looks like an accident; nothing was written."""

    exit_code = 6


class ClockSkew(CrmkitError):
    """This machine's clock and a CRM's clock differ by more than the margin."""

    hint = "Set this machine's clock (NTP), then run the command again."


class SandboxError(CrmkitError):
    """A sandbox server cannot start or was asked for something it does not have."""


class Interrupted(CrmkitError):
    """The run was stopped by a person or a signal; what was read until then is kept."""

    exit_code = 130
    hint = "Run the same command again: it goes on where it stopped."
