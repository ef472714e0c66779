"""What `closing_the_gap.py` is made of: what was logged, the signals read from it, and the ranker they train."""
