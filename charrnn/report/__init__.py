"""What `charrnn report` shows of a run: the numbers behind each section of the page, and the page."""
