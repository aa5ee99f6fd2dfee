"""Evaluation of a distilled set: networks trained on it, their metrics, and measures of its images."""
