"""What builds pages, the book and the released run; no notebook imports it.

Read `pages` (an executed notebook as one HTML page), `book` (all pages, linked), `sections` (the
measured times at the top of each notebook), `release` (trains and measures the run that ships with
the project) and `card` (its description).
"""
