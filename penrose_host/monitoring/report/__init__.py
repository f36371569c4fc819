"""The report of a run: one page of HTML that needs nothing else, made of what is in the run directory.

`history` reads, `curves` thins out, `scales` and `chart` draw, `sections` and `page` put together.
"""

from penrose_host.monitoring.report.page import write_report

__all__ = ["write_report"]
