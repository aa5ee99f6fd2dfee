"""Export of the distilled sets of a study to other tools: a data set repository, and a folder for DD-Ranking."""
