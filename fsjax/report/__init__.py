"""The report: figures, and one page that shows them."""
