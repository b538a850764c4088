"""Who listens to a workspace: logs, metrics and traces, each only if it is asked for.

Prometheus and OpenTelemetry are in the extra `observe` and imported only when they are on.
"""

from __future__ import annotations

from collections.abc import Mapping

from crmkit.errors import CrmkitError
from crmkit.logs import Log
from crmkit.session import Session


def attach(session: Session, log: Log | None, environ: Mapping[str, str]) -> None:
    """Let logs, metrics and traces listen, as the command line, crmkit.toml and the environment say.

    Raises:
        CrmkitError: crmkit.toml names a text file for metrics, and the extra is not installed.
    """
    if log is not None:
        session.observer.add(log)
    path = session.config.settings.observe.textfile
    if path is not None:
        try:
            from crmkit.observers.metrics import Textfile  # noqa: PLC0415 - needs an extra
        except ImportError as error:
            raise CrmkitError(
                "the text file for metrics needs the package prometheus-client",
                hint="Install it with `pip install 'crmkit[observe]'`, or remove [observe] textfile.",
            ) from error
        textfile = Textfile(session.config.folder / path, session)
        session.observer.add(textfile)
        session.leaving.append(textfile.leave)
    if traces_wanted(environ):
        try:
            from crmkit.observers.traces import from_environment  # noqa: PLC0415 - needs an extra
        except ImportError:
            # The variables may be meant for other programs of this machine: no reason to stop.
            session.observer.event("observe_failed", sink="traces", error="not installed")
            return
        session.observer.add(from_environment(environ))


def traces_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "")
    if exporter:
        return "otlp" in exporter
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environ.get(name) for name in names)
