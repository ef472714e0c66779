"""The estimators of the library on the same simulations: DR and LOPE with ridges, and the automatic choice."""

OURS = OUR_DR, OUR_LOPE, CHOSEN = "DR, ours", "LOPE, ours", "chosen"


def ours(people, simulations, seeds):
    raise NotImplementedError
