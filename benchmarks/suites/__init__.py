"""Suites, one file each: `measure(request, progress) -> Result`, and the head of the file says what is measured."""
