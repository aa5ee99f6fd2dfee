"""What a study takes: measured figures, the work of every job, what jobs ask for."""
