"""What a person configures for a Bitrix24 connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from crmkit.connectors.base import ConnectorOptions

# Zones lie between UTC-12 and UTC+14, so a bound is shifted by at most 26 hours.
OVERLAP_UNKNOWN_SHIFT = timedelta(hours=26, minutes=5)
# A known shift may still be an hour or two off while one of two zones keeps summer time.
OVERLAP_KNOWN_SHIFT = timedelta(hours=2, minutes=5)


class Bitrix24Options(ConnectorOptions):
    """Options of one Bitrix24 connection.

    Attributes:
        auth: `webhook` uses the secret `webhook_url`, the whole address of an inbound
            webhook; `oauth` uses `client_id`, `client_secret` and `refresh_token` of an
            installed app, and needs `portal`. Let an administrator own either: lists are
            silently cut to what that user may read.
        portal: The portal's host, for example `acme.bitrix24.com`; also allows the host of a
            self-hosted portal.
        token_url: Where an app's tokens are renewed.
        enterprise: Whether the portal has the Enterprise plan with its higher rate limit.
        work_limit_seconds: Execution time that one method may use in ten minutes; 0 where a
            self-hosted portal has no such limit.
        zone_shift_minutes: How far the time zone in the profile of the connection's user lies
            east of the server's zone. Bitrix24 shifts date bounds by it. Without it every
            incremental read goes back 26 hours, which is always safe; with it, two. Measure it
            with `Bitrix24Connector.measure_zone_shift`, and again when that user's zone changes.
    """

    auth: Literal["webhook", "oauth"] = "webhook"
    portal: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]+(:\d+)?$")
    token_url: str = "https://oauth.bitrix.info/oauth/token/"  # noqa: S105 - an address, not a secret
    enterprise: bool = False
    work_limit_seconds: int = Field(default=480, ge=0)
    zone_shift_minutes: int | None = Field(default=None, ge=-26 * 60, le=26 * 60)

    @property
    def overlap(self) -> timedelta:
        """How far an incremental read goes back behind the start of the one before."""
        return OVERLAP_UNKNOWN_SHIFT if self.zone_shift_minutes is None else OVERLAP_KNOWN_SHIFT

    @property
    def shift(self) -> timedelta:
        """What every date bound is moved by, so that the portal's own shift cancels out."""
        return timedelta(minutes=self.zone_shift_minutes or 0)
