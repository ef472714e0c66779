"""A world: its constants."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class World:
    """Every constant of a simulated service; their values stand in ``conf/simulation/``.

    Time is in days, length in minutes, what moves a click or a visit in logits. A sequence with one entry a content
    type, kind, surface, position or weekday is indexed by it.

    Attributes:
        start: ISO date of day 0.
        days: length of the log.
        follow_up_days: days that can be simulated after the log.
        users: users who ever join.
        initial_items: items live on day 0. Later ones come at a steady rate that keeps this many live.
        lifetime_days: how long an item stays live.
        type_names: content types.
        type_shares: share of items of each type.
        type_minutes: median length of an item of the type.
        type_half_life_days: time in which half of a type's effect on visiting is gone.
        type_delayed_share: share of the satisfaction that sinks in over the following days.
        type_quality: shift of the quality of a type.
        length_spread: standard deviation of the log of an item's length within its type.
        delay_release: share of the satisfaction still to sink in that does so each day.
        kind_names: kinds of item that nobody logs: what a click promises and what it does.
        kind_shares: share of items of each kind.
        kind_creator_share: probability that an item is of its creator's usual kind, not of any.
        kind_appeal: shift of a kind's appeal.
        kind_quality: shift of a kind's quality.
        kind_effect: factor on the satisfaction that a kind gives.
        kind_acquired: 1 where the first exposure does nothing and later ones do, else 0.
        acquired_exposures: exposures over which an acquired taste forms.
        creators: number of creators.
        taste_size: dimensions of taste.
        style_size: dimensions of what an item's features tell of its quality.
        embedding_size: length of the observed embedding.
        embedding_noise: standard deviation of its noise, where the signal's is about 1.
        appeal_spread: standard deviation of appeal.
        appeal_creator_share: share of the variance of appeal that is the creator's.
        quality_mean: mean quality, in satisfaction a click.
        quality_spread: standard deviation of quality, in satisfaction a click.
        quality_creator_share: share of the variance of quality that is the creator's.
        quality_style_share: share that the style explains; the rest is the item's own.
        quality_appeal_correlation: correlation of quality with appeal before the kinds.
        click_bias: click logit of an average item at the first position.
        click_match: what a standard deviation of taste match adds to the click logit.
        click_novelty: what a fresh release adds, falling with age.
        novelty_days: age over which it falls by a factor e.
        click_fatigue: what each remembered exposure takes away.
        position_bias: shift at each position; its length is the slate's.
        effect_match: satisfaction a click for each standard deviation of taste match.
        effect_fatigue: rate at which each remembered exposure lessens the effect.
        forgetting_days: time over which the memory of an exposure fades by a factor e.
        surface_names: surfaces.
        surface_shares: how often a slate is on each surface.
        surface_click: shift of the click logit there.
        platform_names: platforms; a user keeps to one, and it changes nothing.
        platform_shares: share of users on each.
        play_bias: logit of the share played of what was clicked.
        play_match: what a standard deviation of taste match adds to it.
        play_appeal: what a unit of appeal adds to it.
        play_spread: standard deviation of its noise.
        skip_below: a click played for less than this share is a skip.
        like_bias: logit of liking what was played on.
        like_quality: what a unit of quality adds to it.
        like_match: what a standard deviation of taste match adds to it.
        survey_share: share of clicks followed by an answered survey.
        survey_spread: standard deviation of an answer around satisfaction, on the scale of 1 to 5.
        survey_slope: points on that scale for a unit of satisfaction.
        activity_mean: mean of the users' base logit of a visit a day.
        activity_spread: standard deviation of it.
        weekday: shift of the visit logit on Monday to Sunday.
        mood_spread: standard deviation of a slow drift of the visit logit that nobody logs.
        mood_days: time over which it is forgotten.
        gain: visit logits for a unit of satisfaction in the habit state.
        habit_limit: the most, in logits, by which habit moves visiting.
        depth_mean: mean logit of going on to another slate.
        depth_activity: what a unit of the user's base logit adds to it.
        max_slates: most slates a day.
        session_break: probability that a next slate is in a later session.
        early_share: share of users there on day 0; the others join at a steady rate.
        leaving_rate: probability a day of leaving for good.
        popularity_spread: standard deviation of the logging policy's fixed item scores.
        popularity_appeal: correlation of these with appeal.
        policy_likeness: weight of the likeness of an item's embedding to those the user clicked.
        policy_activity: weight of the user's logged activity times the item's loading.
        policy_mood: weight of the user's unlogged mood times the item's loading.
        loading_quality: correlation of the loadings with quality.
        likeness_memory: exposures clicked over which the policy's picture of a user forms.
        activity_memory_days: days over which the policy's picture of a user's activity forms.
        logged_propensities: whether the log tells the propensities.
        kind_later: factor on the part of a kind's satisfaction that sinks in over the following days; below 0: it
            pleases at first and disappoints later. Empty: 1 for each.
        type_autoplay: share of a click's satisfaction that an exposure of the type gives without one. Empty: 0 for
            each.
        click_creator_fatigue: what each remembered exposure of the same creator takes away from the click logit; below
            0: who is familiar is clicked more.
        effect_creator_fatigue: rate at which each of them lessens the effect.
        slate_competition: share of a click that is lost for each other item of the slate that would be clicked.
        mood_click: what a unit of the user's mood adds to the click logit.
        shock_spread: standard deviation of the shift of everybody's visit logit on a day.
        shock_click: what a unit of that shift adds to everybody's click logit.
        season_amplitude: the most, in logits, by which a season moves visiting.
        season_days: its length.
        taste_drift: radians a day by which users' tastes turn away from what they were.
        play_quality: what a unit of the satisfaction that a click gives adds to the share played.
        survey_appeal: points of a survey's answer for a unit of appeal, whatever the click gave.
        survey_activity: logits of answering for a unit of the user's base activity above the mean.
        policy_temperature: of the logging policy's softmax; below 1 it explores less.
        retrieved_items: items among which a slate is filled: every day the live items are dealt into groups of about
            this size, and each slate is filled from a group at random. 0: from all.
        propensity_noise: standard deviation of the log of what the log tells of a propensity over the true one.
    """

    start: str
    days: int
    follow_up_days: int
    users: int
    initial_items: int
    lifetime_days: float
    type_names: tuple[str, ...]
    type_shares: tuple[float, ...]
    type_minutes: tuple[float, ...]
    type_half_life_days: tuple[float, ...]
    type_delayed_share: tuple[float, ...]
    type_quality: tuple[float, ...]
    length_spread: float
    delay_release: float
    kind_names: tuple[str, ...]
    kind_shares: tuple[float, ...]
    kind_creator_share: float
    kind_appeal: tuple[float, ...]
    kind_quality: tuple[float, ...]
    kind_effect: tuple[float, ...]
    kind_acquired: tuple[float, ...]
    acquired_exposures: float
    creators: int
    taste_size: int
    style_size: int
    embedding_size: int
    embedding_noise: float
    appeal_spread: float
    appeal_creator_share: float
    quality_mean: float
    quality_spread: float
    quality_creator_share: float
    quality_style_share: float
    quality_appeal_correlation: float
    click_bias: float
    click_match: float
    click_novelty: float
    novelty_days: float
    click_fatigue: float
    position_bias: tuple[float, ...]
    effect_match: float
    effect_fatigue: float
    forgetting_days: float
    surface_names: tuple[str, ...]
    surface_shares: tuple[float, ...]
    surface_click: tuple[float, ...]
    platform_names: tuple[str, ...]
    platform_shares: tuple[float, ...]
    play_bias: float
    play_match: float
    play_appeal: float
    play_spread: float
    skip_below: float
    like_bias: float
    like_quality: float
    like_match: float
    survey_share: float
    survey_spread: float
    survey_slope: float
    activity_mean: float
    activity_spread: float
    weekday: tuple[float, ...]
    mood_spread: float
    mood_days: float
    gain: float
    habit_limit: float
    depth_mean: float
    depth_activity: float
    max_slates: int
    session_break: float
    early_share: float
    leaving_rate: float
    popularity_spread: float
    popularity_appeal: float
    policy_likeness: float
    policy_activity: float
    policy_mood: float
    loading_quality: float
    likeness_memory: float
    activity_memory_days: float
    logged_propensities: bool
    kind_later: tuple[float, ...] = ()
    type_autoplay: tuple[float, ...] = ()
    click_creator_fatigue: float = 0.0
    effect_creator_fatigue: float = 0.0
    slate_competition: float = 0.0
    mood_click: float = 0.0
    shock_spread: float = 0.0
    shock_click: float = 0.0
    season_amplitude: float = 0.0
    season_days: float = 365.0
    taste_drift: float = 0.0
    play_quality: float = 0.0
    survey_appeal: float = 0.0
    survey_activity: float = 0.0
    policy_temperature: float = 1.0
    retrieved_items: int = 0
    propensity_noise: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if str(field.type).startswith("tuple"):
                object.__setattr__(self, field.name, tuple(value))
        object.__setattr__(self, "kind_later", self.kind_later or (1.0,) * len(self.kind_names))
        object.__setattr__(self, "type_autoplay", self.type_autoplay or (0.0,) * len(self.type_names))
        lengths = {
            name: len(getattr(self, name))
            for name in (field.name for field in fields(self))
            if name.startswith(("type_", "kind_", "surface_", "platform_")) and name != "kind_creator_share"
        }
        problems = [
            f"{name} has {size} entries, {first} has {lengths[first]}"
            for name, size in lengths.items()
            if size != lengths[first := f"{name.partition('_')[0]}_names"]
        ]
        if len(self.weekday) != 7:
            problems.append(f"weekday has {len(self.weekday)} entries, a week has 7")
        if self.days < 1 or self.users < 1 or self.initial_items <= len(self.position_bias):
            problems.append("expected at least one day, one user and more live items than a slate holds")
        if problems:
            raise ValueError("the world's constants do not fit together: " + "; ".join(problems))

    @property
    def calendar_days(self) -> int:
        """Days that can be simulated: those of the log and those that follow."""
        return self.days + self.follow_up_days

    @property
    def slate_size(self) -> int:
        """Positions of a slate."""
        return len(self.position_bias)


def sigmoid(logit: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / (1 + e^−x), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logit))


def shares(values: tuple[float, ...]) -> NDArray[np.float64]:
    """Weights as probabilities."""
    return np.array(values) / np.sum(values)
