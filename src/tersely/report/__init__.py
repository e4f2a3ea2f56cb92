"""Where every bit of a file went, as data and as a page that a browser opens without a network.

summary   what `tersely.inspect` finds, added up
page      HTML; page.css and page.js are put into it, so that one file is all there is
"""

from tersely.report.page import page
from tersely.report.summary import Summary, gather

__all__ = ["Summary", "gather", "page"]
