import ast
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest
from figures import drawn
from situations import SITUATIONS
from test_assessment import assessed, example, sample

import reward.report
from reward import records
from reward.causal.diagnostics.summary import ShiftCurve, Verdict, no_push, verdict
from reward.evaluation.simulated_truth import against_truth
from reward.report.blocks import Picture
from reward.report.drawing import STYLE
from reward.report.figures import truth_picture
from reward.report.page import report
from reward.report.saved import from_json
from reward.report.sections import PUSH, how_far_to_lean, shifts_to_show
from reward.report.sentences import summary_sentences
from reward.report.summary import TrainingGain, in_short
from reward.report.write import unanswered
from reward.scoring.effect_sentences import effect_sentences

SECTIONS = (
    "In short",
    "Effects of showing items",
    "Forecasts in words",
    "Gains in log-loss",
    "Day by day",
    "Reliability",
    "Return time",
    "Slices",
    "Value decomposition",
    "The reward",
    "What this can and cannot claim",
)
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Tags that open and close, with their attributes and text by the tag it stands in."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)


def written(assessment, **changes):
    """The page of what is saved of an evaluation."""
    return report(from_json(assessment), **{"title": "A title", "facts": [("log", "a log")], **changes})


@pytest.fixture(scope="module")
def page():
    with drawn():
        return written(example()[-1])


def test_every_section_stands_on_the_page_and_every_tag_is_closed(page):
    read = Page(page)
    assert read.open == []
    assert tuple(read.text["h2"]) == SECTIONS
    assert read.text["h1"] == ["A title"]


def test_each_section_opens_with_what_it_shows(page):
    for section in page.split("<section>")[1:]:
        assert re.match(r'\s*<h2>[^<]+</h2>\s*<p class="lead">[^<]{40,}', section)


def test_the_page_loads_nothing_and_runs_nothing(page):
    read = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "img", "image", "base"} & set(read.tags)
    assert "http" not in page
    assert "@import" not in page
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "href", "xlink:href") or value.startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_markup_stands_in_the_templates_alone():
    for file in Path(reward.report.__file__).parent.rglob("*.py"):
        texts = [it.value for it in ast.walk(ast.parse(file.read_text())) if isinstance(it, ast.Constant)]
        assert not [it for it in texts if isinstance(it, str) and re.search(r"<(?!/?svg)/?[a-z]\w*[ >]", it)], file.name


def test_references_inside_drawings_lead_to_an_id_that_is_there_once(page):
    ids = [value for name, value in Page(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = re.findall(r"url\(#([^)]*)\)", page) + re.findall(r'href="#([^"]*)"', page)
    assert targets
    assert set(targets) <= set(ids)


def test_drawings_take_their_colours_from_the_page(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 7
    for drawing in drawings:
        assert "var(--model)" in drawing
        assert not re.search(r"#[0-9a-f]{6}\b", drawing)
    for name in re.findall(r"var\((--\w+)\)", page):
        assert page.count(f"{name}:#") == 2  # once light, once dark


def test_sentences_facts_and_names_are_written_out(page):
    assessment = example()[-1]
    plain = re.sub(r"<[^>]*>", "", page)
    for sentence in (
        *summary_sentences(from_json(assessment)),
        *assessment["ledger"]["sentences"],
        *assessment["reward"]["sentences"],
        *assessment["notes"],
    ):
        assert sentence.replace("'", "&#39;") in plain
    for name in (*assessment["metrics"], "even users", "one user", "a log", "3,000"):
        assert name in plain


def test_a_table_shows_values_with_their_intervals(page):
    found = example()[-1]["metrics"]["LightGBM"]["log_loss"]
    value, low, high = (f"{found[end]:.3f}" for end in ("value", "low", "high"))
    assert re.search(rf"<td>{value}\d*<small>{low}\d* to {high}\d*</small></td>", page)


def test_what_comes_from_outside_is_escaped():
    predictions, *rest, _ = example()
    named = {
        "<b>model</b>": predictions["reward model"],
        "base rate": predictions["base rate"],
        "$x_1$": predictions["LightGBM"],
    }
    page = written(
        assessed(named, *rest, model="<b>model</b>", unit="<i>days</i>", resamples=3),
        title="<script>1</script>",
        facts=[("<u>", "<script>2</script>")],
    )
    assert Page(page).open == []
    assert not re.search(r"<(script|b|u)\b|<i>", page)
    assert "$x_1$" in page


def test_the_same_assessment_gives_the_same_page_also_after_a_round_trip(page):
    with drawn():
        assert written(json.loads(json.dumps(example()[-1]))) == page


@pytest.mark.parametrize(
    "given",
    [
        sample(n=6, users=3, items=4, seed=3),
        sample(n=40, users=4, items=4, horizon=1),
        sample(n=400, users=40, items=6, horizon=14),
    ],
    ids=["tiny", "one day", "two weeks"],
)
def test_small_and_long_test_sets_have_a_page_too(given):
    with drawn():
        page = written(assessed(*given, resamples=5))
    assert tuple(Page(page).text["h2"]) == SECTIONS
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).lower()


def test_a_model_without_baselines_has_a_page_too():
    predictions, *rest, _ = example()
    assessment = assessed({"reward model": predictions["reward model"]}, *rest, resamples=3)
    assert tuple(Page(written(assessment)).text["h2"]) == SECTIONS


def test_no_user_or_item_is_named():
    *given, rows, _ = example()
    marked = rows.with_columns(user_id=rows["user_id"] + 7_654_321_000, item_id=rows["item_id"] + 8_765_432_000)
    page = written(assessed(*given, marked, resamples=3))
    assert "7654321" not in page.replace(",", "")
    assert "8765432" not in page.replace(",", "")
    assert np.isin(marked["user_id"].to_numpy(), 7_654_321_000).any()


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_simulated_world_s_report_draws_clicks_and_rewards_against_the_truth(strength):
    rng = np.random.default_rng(0)
    effect = strength * rng.normal(0, 0.04, 30)
    items = pl.DataFrame(
        {
            "click_rate": rng.uniform(0.1, 0.3, 30),
            "reward": effect + rng.normal(0, 0.01, 30),
            "reward_std": np.full(30, 0.01),
            "effect": effect,
            "effect_se": np.full(30, 0.001),
        }
    )
    assessment = dict(example()[-1])
    settings = {name: assessment[name] for name in ("resamples", "seed", "level")}
    assessment["truth"] = records.to_json(against_truth(items, **settings))
    with drawn():
        read, alone = Page(written(assessment, items=items)), truth_picture(from_json(assessment), items)
    assert read.open == []
    assert read.text["h2"][3] == "Against the truth"
    last = summary_sentences(from_json(assessment))[-1]
    assert "of its 95% intervals hold" in last if strength else "of their 95% intervals hold" in last
    assert alone.startswith("<svg")
    assert "#0a0a0" not in alone  # a stand-in for a colour
    told = assessment["truth"]["correlation"]["learned reward"]["value"]
    assert (told is None) == (strength == 0)


def plain_text(page):
    """What a page says, without its drawings."""
    page = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", "", page).replace("&#39;", "'")


POLICIES = {
    "divergence": 0.3,
    "level": 0.95,
    "weights": [
        {"policy": "leaning on the reward", "effective_rows": 100.0, "top_share": 0.1}
        | {"mean": {"value": 1.0, "low": 0.9, "high": 1.1}, "curve": [0.1] * 7}
    ],
    "estimates": [
        {"policy": "leaning on the reward", "outcome": "days", "rows": 500, "effective_rows": 100.0, "ran": 2.0}
        | {"change": {"value": 0.2, "low": 0.1, "high": 0.3}, "guess": {"value": 0.2, "estimator": "unclipped"}}
        | {"refused": None}
    ],
}


def judged(effects, **changes):
    """The example's evaluation as it is saved, of rewards that are effects where these are summed up."""
    found = {**example()[-1], "policies": POLICIES, **changes}
    return {**found, "ledger": found["ledger"] | {"reward_is_exposure": not effects}}


@cache
def page_of(situation):
    effects = SITUATIONS[situation]
    return written(judged(effects), effects=effects)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_page_has_the_verdict_the_warning_and_every_sentence_of_the_account_before_any_figure(situation):
    effects = SITUATIONS[situation]
    page = page_of(situation)
    assert Page(page).open == []
    top = plain_text(page[: page.index("<svg")])
    for sentence in in_short(from_json(judged(effects)), effects):
        assert sentence[1:] in top
    if not effects:
        return
    assert f"Verdict: {verdict(effects)}." in top
    for sentence in [*effect_sentences(effects), *([effects.warning] if effects.warning else [])]:
        assert sentence in top


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_figure_of_the_page_advises_what_the_verdict_does_not_carry(situation):
    effects = SITUATIONS[situation]
    page = page_of(situation)
    carried, text = no_push(effects) is None, plain_text(page)
    shown = f"<h2>{PUSH}</h2>" in page
    assert shown == (carried and bool(effects.policy_shifts))
    assert ("a recommended limit" in text) == (shown and verdict(effects) is Verdict.SUPPORTED)
    assert ("a limit for an experiment and no recommendation" in text) == (
        shown and verdict(effects) is Verdict.TO_BE_TESTED
    )
    assert ("Do not act on these rewards, whatever their standard deviations say" in text) == (
        bool(effects) and not carried
    )
    assert ("A gain of leaning on the reward is no reason to lean on rewards" in text) == (
        bool(effects) and not carried
    )
    flagged = bool(effects and effects.flagged)
    assert ("fail their balance check (see the effects" in text) == flagged
    assert len(re.findall(r"[Tt]rain a ranker on the rewards", text)) == (verdict(effects) is Verdict.SUPPORTED)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_how_far_to_lean_is_either_drawn_or_said_to_be_unknown(situation):
    effects = SITUATIONS[situation]
    notes = unanswered(effects, from_json(example()[-1]))
    why = [note for note in notes if note.what.startswith(("How far a ranker can lean", "What showing an item does"))]
    assert len(why) == (shifts_to_show(effects) is None)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_push_that_is_advised_is_drawn(situation):
    effects = SITUATIONS[situation]
    with drawn(), matplotlib.rc_context(STYLE):
        found = how_far_to_lean(effects, "active days")
    assert (found is None) == (shifts_to_show(effects) is None)
    assert found is None or [it.body.count("<path") > 10 for it in found.blocks if isinstance(it, Picture)] == [True]


def test_where_no_gain_is_certain_the_page_says_that_there_is_no_limit():
    nothing, other = map(page_of, ("supported, nothing to gain from leaning", "supported, to be pushed"))
    assert "there is none where no gain is certain" in plain_text(nothing)
    assert "there is none where no gain is certain" not in plain_text(other)


def test_a_push_without_a_distance_is_not_drawn():
    effects = SITUATIONS["supported, to be pushed"]
    nowhere = ShiftCurve(divergence=())
    assert shifts_to_show(effects).keys() == {"0", "1"}
    some = replace(effects, policy_shifts={**effects.policy_shifts, "1": nowhere})
    assert shifts_to_show(some).keys() == {"0"}
    assert shifts_to_show(replace(effects, policy_shifts={"0": nowhere})) is None
    assert shifts_to_show(None) is None


HOUSE_WORDS = (
    "borne out",
    "bear out",
    "bears out",
    "of no account",
    "foretell",
    "users held out",
    "told",
    "cannot be said",
    "ledger",
)


@pytest.mark.parametrize("word", HOUSE_WORDS)
def test_the_page_is_in_plain_words(word):
    assert not [situation for situation in SITUATIONS if word in plain_text(page_of(situation))]


def test_what_training_gained_over_past_activity_is_on_the_page():
    said = "Training gained nothing over past activity on the validation days; tried: a GRU."
    text = plain_text(written(example()[-1], forecast=TrainingGain(0.0, said)))
    assert said in text
    assert "The same as past activity alone, because training gained nothing over it" in text
