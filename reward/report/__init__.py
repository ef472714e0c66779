"""The report: what evaluation found, in words, tables and pictures."""
