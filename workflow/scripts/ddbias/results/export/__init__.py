"""Distilled sets of a study for other people's tools: a data set repository, and a folder for DD-Ranking."""
