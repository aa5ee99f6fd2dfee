"""What a distilled set is worth: networks trained on it, their metrics, and measures of the images themselves."""
