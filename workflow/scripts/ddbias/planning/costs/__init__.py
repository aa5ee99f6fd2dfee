"""Cost of a study: of every job, what each job requests from a scheduler, and the table of `make estimate`."""
