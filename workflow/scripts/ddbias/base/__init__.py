"""Used by all packages: errors, random streams, the log, plug-ins, the cell of a study, groups of samples."""
