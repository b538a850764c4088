"""The machine that crmkit runs on: Python, optional packages, the keyring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from crmkit.health.findings import HERE, Finding, error, note, ok

LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found on the machine.

    Attributes:
        python: Its version.
        extras: Extras that the configuration needs, each with the packages that are missing.
        why: Extra to the setting that needs it.
        keyring: The keyring's backend; `None` if there is no usable one.
        keyring_used: Whether the configuration looks into a keyring at all.
        secrets_dir: Whether there is a folder of secret files.
    """

    python: tuple[int, int, int]
    extras: Mapping[str, tuple[str, ...]]
    why: Mapping[str, str]
    keyring: str | None
    keyring_used: bool
    secrets_dir: bool


def check(machine: Machine) -> Iterator[Finding]:
    """What is missing on this machine."""
    version = ".".join(map(str, machine.python))
    if machine.python[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        yield error(HERE, "python", f"Python {version} is too old: crmkit needs {least} or newer")
    else:
        yield ok(HERE, "python", f"Python {version}")
    for extra, missing in machine.extras.items():
        if missing:
            yield error(
                HERE, "extras", f"{machine.why[extra]} needs packages that are not installed: "
                f"{', '.join(missing)}", command=f"pip install 'crmkit[{extra}]'",
            )  # fmt: skip
        else:
            yield ok(HERE, "extras", f"the extra {extra} is installed")
    if not machine.keyring_used:
        yield ok(HERE, "keyring", "secrets come from the files of secrets_dir only")
    elif machine.keyring is not None:
        yield ok(HERE, "keyring", f"the keyring is {machine.keyring}")
    elif machine.secrets_dir:
        yield ok(HERE, "keyring", "no keyring here; secrets come from secrets_dir and the environment")
    else:
        yield note(
            HERE, "keyring", "this machine has no usable keyring, so secrets come from the environment only",
            hint="Name an owner-only folder as `secrets_dir` in crmkit.toml, if a CRM changes its tokens.",
        )  # fmt: skip
