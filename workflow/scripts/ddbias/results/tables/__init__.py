"""Tables: evaluations pooled by cell, beside the published numbers."""
