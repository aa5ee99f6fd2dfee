"""The ledger: every published number that a study covers, ours beside it, and why they may differ."""
