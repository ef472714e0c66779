"""Parts of ``temporal_consistency.py``: sequences, the model, and what its predictions are held against."""
