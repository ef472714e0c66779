"""Two classics of customers who buy at random until they stop, unseen: BG/NBD and Pareto/NBD.

A customer buys at rate λ until the end of a life that nobody sees. What counts of a history is (x, t_x, T): purchases
after the first, the age at the last one, and the age now, here in weeks.

Sources: Fader, Hardie & Lee 2005, "Counting your customers" the easy way (Marketing Science 24); Schmittlein, Morrison
& Colombo 1987, Counting your customers: who are they and what will they do next? (Management Science 33).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

Floats = np.ndarray
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)  # for an integral over a week


class History(NamedTuple):
    """What counts of histories, (n,) each: x, t_x and T."""

    repeats: Floats
    last: Floats
    age: Floats


def bg_nbd_log_likelihood(parameters: Floats, of: History) -> Floats:
    """Log-likelihood of each history under BG/NBD: λ ~ gamma(r, α), and after each purchase a life ends with p ~ beta.

    log [B(a, b + x) / (α + T)^(r+x) + 1(x > 0) B(a + 1, b + x − 1) / (α + t_x)^(r+x)] + log [Γ(r + x) α^r / (Γ(r)
    B(a, b))].

    Args:
        parameters: r, α, a, b.
        of: n histories.

    Returns:
        (n,), in nats.

    Source: Fader, Hardie & Lee 2005, equation 6.
    """
    r, alpha, a, b = parameters
    x, last, age = of
    alive = betaln(a, b + x) - (r + x) * np.log(alpha + age)
    left = betaln(a + 1, b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + last)
    either = np.where(x > 0, np.logaddexp(alive, left), alive)
    return either + gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)


def bg_nbd_survival(parameters: Floats, of: History, weeks: Floats) -> Floats:
    """Chance of no purchase in the next ``weeks``: 1 − P(alive) [1 − ((α + T) / (α + T + t))^(r+x)], (n, weeks).

    Whoever is alive now has λ ~ gamma(r + x, α + T), and lives until they buy again.
    """
    r, alpha, a, b = parameters
    x, last, age = of
    odds = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * np.exp((r + x) * np.log((alpha + age) / (alpha + last))), 0)
    silent = ((alpha + age)[:, None] / (alpha + age[:, None] + weeks)) ** (r + x)[:, None]
    return 1 - (1 - silent) / (1 + odds)[:, None]


def pareto_nbd_log_likelihood(parameters: Floats, of: History) -> Floats:
    """Log-likelihood of each history under Pareto/NBD: λ ~ gamma(r, α), and a life ends at rate μ ~ gamma(s, β).

    log [Γ(r + x) α^r β^s / Γ(r)] + log [(α + T)^−(r+x) (β + T)^−s + s ∫_{t_x}^T (α + u)^−(r+x) (β + u)^−(s+1) du].

    Args:
        parameters: r, α, s, β.
        of: n histories.

    Returns:
        (n,), in nats.

    Source: Schmittlein, Morrison & Colombo 1987; the integral by ₂F₁ as in Fader & Hardie 2005, A note on deriving the
    Pareto/NBD model.
    """
    r, alpha, s, beta = parameters
    alive, left = _pareto_nbd_parts(parameters, of)
    x = of.repeats
    return np.logaddexp(alive, left) + gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)


def pareto_nbd_survival(parameters: Floats, of: History, weeks: Floats) -> Floats:
    """Chance of no purchase in the next ``weeks`` 1, 2, … H, (n, H).

    1 − P(alive) + P(alive) [A(t) B(t)^s + s ∫_0^t A(u) B(u)^s / (β + T + u) du], A(u) = ((α + T) / (α + T + u))^(r+x)
    and B(u) = (β + T) / (β + T + u): silent and alive, or silent until the life ended.
    """
    r, alpha, s, beta = parameters
    x, _, age = of
    alive, left = _pareto_nbd_parts(parameters, of)

    def silent(after: Floats) -> Floats:
        of_rate = (r + x)[:, None] * np.log((alpha + age)[:, None] / (alpha + age[:, None] + after))
        of_life = s * np.log((beta + age)[:, None] / (beta + age[:, None] + after))
        return np.exp(of_rate + of_life)

    moment = (weeks[:, None] - 0.5 + 0.5 * _NODES).ravel()
    ended = (silent(moment) * s / (beta + age[:, None] + moment)).reshape(len(x), len(weeks), -1) @ (0.5 * _WEIGHTS)
    return 1 - np.exp(-np.logaddexp(0, left - alive))[:, None] * (1 - silent(weeks) - ended.cumsum(1))


def _pareto_nbd_parts(parameters: Floats, of: History) -> tuple[Floats, Floats]:
    """Logarithms of the two terms of the likelihood: still alive, and not, less what they share."""
    r, alpha, s, beta = parameters
    x, last, age = of
    alive = -(r + x) * np.log(alpha + age) - s * np.log(beta + age)
    high, apart, second = max(alpha, beta), abs(alpha - beta), s + 1 if alpha >= beta else r + x
    power = r + s + x

    def term(at: Floats) -> Floats:
        return np.log(hyp2f1(power, second, power + 1, apart / (high + at))) - power * np.log(high + at)

    from_last, from_now = term(last), term(age)
    with np.errstate(divide="ignore"):  # nothing lies between a purchase today and now
        integral = from_last + np.log1p(-np.exp(np.minimum(from_now - from_last, 0)))
    return alive, integral + np.log(s) - np.log(power)


class Model(NamedTuple):
    """A model: its likelihood, its forecast and where the search for its parameters begins."""

    log_likelihood: Callable[[Floats, History], Floats]
    survival: Callable[[Floats, History, Floats], Floats]
    start: tuple[float, ...]


BG_NBD = Model(bg_nbd_log_likelihood, bg_nbd_survival, (0.3, 5.0, 0.8, 2.5))
PARETO_NBD = Model(pareto_nbd_log_likelihood, pareto_nbd_survival, (0.5, 10.0, 0.6, 12.0))


def fitted(model: Model, of: History) -> Floats:
    """Parameters of the largest likelihood; equal histories are counted once, with their number."""
    rows, count = np.unique(np.column_stack(of), axis=0, return_counts=True)
    each = History(*rows.T)

    def loss(logs: Floats) -> float:
        return -float(model.log_likelihood(np.exp(logs), each) @ count) / count.sum()

    found = minimize(loss, np.log(model.start), method="L-BFGS-B", bounds=[(-10, 10)] * len(model.start))
    return np.exp(found.x)
