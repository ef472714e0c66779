"""What `progressive.py` is made of: published shows and filter (McDonald et al., KDD 2023), bound and bandit."""
