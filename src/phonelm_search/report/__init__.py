"""One offline HTML file that a person decides from."""

from phonelm_search.report.page import write_report

__all__ = ["write_report"]
