"""Features: how a log's columns become numbers and codes."""
