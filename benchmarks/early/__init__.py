"""What `surrogates.py` draws its tests from."""
