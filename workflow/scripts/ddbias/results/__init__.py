"""What people look at: tables, figures, the page, exports. Reads files only."""
