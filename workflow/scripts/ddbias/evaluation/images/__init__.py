"""Measures of the images of a distilled set: how diverse they are, which attributes they show."""
