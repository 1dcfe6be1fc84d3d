"""What watches, records and resumes a run."""
