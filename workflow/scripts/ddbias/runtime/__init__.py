"""How a job lives: its log and end, its state, its GPU, the caches. No result depends on anything in here."""
