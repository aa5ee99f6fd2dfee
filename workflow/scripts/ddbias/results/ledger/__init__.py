"""The ledger: every published number that a study covers, our number, and reasons for their difference."""
