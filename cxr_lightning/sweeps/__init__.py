"""What joins the runs of a sweep: their names and their table."""
