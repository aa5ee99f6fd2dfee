"""Presentation of results: tables, figures, the page, exports. Reads files only."""
