"""The progressive-feedback experiment of McDonald et al. (KDD 2023): shows, the published filter, the bound, the bandit."""
