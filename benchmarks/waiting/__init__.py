"""What `return_time.py` is made of: customers, the two classics of buying until one stops, forecasters and scores."""
