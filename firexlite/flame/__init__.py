"""What the HTML run report is made of: rows, markup, summary, and the page's assets."""
