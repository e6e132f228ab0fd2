"""Instructions before which a pass ends, other than contrast and blur."""
