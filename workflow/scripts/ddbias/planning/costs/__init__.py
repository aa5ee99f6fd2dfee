"""What a study takes: what every job costs, what jobs ask for, and the table of `make estimate`."""
