"""What is made of result files: tables, charts, the HTML report, comparisons, and the README's tables."""
