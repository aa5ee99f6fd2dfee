"""How a job lives: its log and end, its state, its GPU, compiled code. No result depends on anything in here."""
