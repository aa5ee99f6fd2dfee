"""The files between the stages: the store, a split, a distilled set and its preview."""
