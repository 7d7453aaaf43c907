"""Reports as one file: a page with its figures inside, for a browser, a printer or a talk.

A page loads nothing and runs nothing: no network, no script. Whatever stands in a record (a
sample's name, a note) is shown as text.
"""

from operando.pages.comparison import comparison_page
from operando.pages.report import report_page

__all__ = ["comparison_page", "report_page"]
