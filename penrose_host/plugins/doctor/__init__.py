"""Looks at everything that is installed for Penrose and says what is wrong, and what to type next."""

from penrose_host.plugins.doctor.examination import Examination, Examined, examine
from penrose_host.plugins.doctor.findings import Finding
from penrose_host.plugins.doctor.probing import TIME_LIMIT, Probe, probe

__all__ = ["TIME_LIMIT", "Examination", "Examined", "Finding", "Probe", "examine", "probe"]
