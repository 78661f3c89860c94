"""The leak audit: proves that what is learned from one split says nothing that it should not about another."""

from reeltag.leaks.audit import AuditConfig, audit, audit_against, check_fitted
from reeltag.leaks.report import SEVERITIES, Check, Finding, FittedCheck, LeakReport, Severity, Side

__all__ = [
    "SEVERITIES",
    "AuditConfig",
    "Check",
    "Finding",
    "FittedCheck",
    "LeakReport",
    "Severity",
    "Side",
    "audit",
    "audit_against",
    "check_fitted",
]
