"""The page with every distilled set."""
