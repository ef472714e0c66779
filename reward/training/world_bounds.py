"""What the constants of a simulated world may be."""

from __future__ import annotations

from reward.training.kinds import FLAG, MOMENT, SEED, SHARE, Kind, ListOf, Parsed, Real, Text, Whole

_NUMBER = Real(-1e3, 1e3)
_NUMBERS = ListOf(_NUMBER, least=1, repeated=True)
_SHARES = ListOf(SHARE, least=1, repeated=True)
_NAMES = ListOf(Text(), least=1)
_CONSTANTS: dict[Kind, str] = {
    Parsed("a date", MOMENT.read): "start",
    Whole(4, 3650): "days",
    Whole(1, 3650): "follow_up_days",
    Whole(1, 10**7): "users",
    Whole(2, 10**6): "initial_items",
    Whole(0, 10**6): "retrieved_items",
    Whole(1, 10**6): "creators",
    Whole(1, 1024): "taste_size style_size embedding_size",
    Whole(1, 1000): "max_slates",
    Real(0, 36500, above=True): "lifetime_days novelty_days forgetting_days mood_days activity_memory_days "
    "likeness_memory acquired_exposures season_days policy_temperature",
    Real(0, 1e3): "embedding_noise appeal_spread quality_spread length_spread delay_release survey_spread play_spread "
    "activity_spread mood_spread popularity_spread habit_limit effect_fatigue click_fatigue gain "
    "effect_creator_fatigue shock_spread season_amplitude propensity_noise",
    SHARE: "kind_creator_share appeal_creator_share quality_creator_share quality_style_share skip_below survey_share "
    "session_break early_share leaving_rate slate_competition",
    Real(-1, 1): "quality_appeal_correlation popularity_appeal loading_quality",
    _NUMBER: "quality_mean click_bias click_match click_novelty effect_match play_bias play_match play_appeal "
    "like_bias like_quality like_match survey_slope activity_mean depth_mean depth_activity policy_likeness "
    "policy_activity policy_mood click_creator_fatigue mood_click shock_click taste_drift play_quality survey_appeal "
    "survey_activity",
    _NAMES: "type_names kind_names surface_names platform_names",
    _SHARES: "type_shares type_delayed_share type_autoplay kind_shares surface_shares platform_shares",
    ListOf(Real(0, 1e6, above=True), least=1, repeated=True): "type_minutes type_half_life_days",
    _NUMBERS: "type_quality kind_appeal kind_quality kind_effect kind_later surface_click position_bias",
    ListOf(SHARE, least=1, repeated=True, most=999): "kind_acquired",
    ListOf(_NUMBER, least=7, most=7, repeated=True): "weekday",
    FLAG: "logged_propensities",
}

_KINDS = {name: kind for kind, names in _CONSTANTS.items() for name in names.split()}
SIMULATION: dict[str, Kind] = {
    **{f"simulation.{name}": kind for name, kind in _KINDS.items()},
    **{f"simulation.constants.{name}": kind for name, kind in _KINDS.items()},  # of a drawn world, set by hand
    "simulation.seed": SEED,
}
