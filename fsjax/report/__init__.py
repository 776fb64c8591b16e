"""The report: figures, and one page that shows them."""

from fsjax.report.page import check, write

__all__ = ["check", "write"]
