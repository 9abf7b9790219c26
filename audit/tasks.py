"""The daily job of the log."""

from audit import retention


def prune() -> str:
    """Delete entries older than `LIFETIME_AUDIT_RETENTION_DAYS`; scheduled once a day (migration 0004)."""
    cut = retention.prune()
    return f"Deleted {cut.entries} audit entries" if cut else "No audit entry is old enough"
