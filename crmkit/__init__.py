"""Five CRMs as one pipeline: sync, migrate, report."""

__version__ = "0.5.0"
