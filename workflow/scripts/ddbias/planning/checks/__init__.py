"""Checks across the sections of a study: one readable line for each mistake."""
