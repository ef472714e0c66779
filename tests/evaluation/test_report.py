import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from test_assessment import assessed, example, sample

from reward.evaluation.publish import pushed_in
from reward.evaluation.report import report, sentences, summary_table, truth_picture
from reward.evaluation.truth import against_truth

SECTIONS = (
    "In words",
    "Gains in log-loss",
    "Day by day",
    "Reliability",
    "Return time",
    "Slices",
    "The ledger",
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
    return report(assessment, **{"title": "A title", "facts": [("log", "a log")], **changes})


@pytest.fixture(scope="module")
def page():
    return written(example()[-1])


def test_every_section_stands_on_the_page_and_every_tag_is_closed(page):
    read = Page(page)
    assert read.open == []
    assert tuple(read.text["h2"]) == SECTIONS
    assert read.text["h1"] == ["A title"]


def test_each_section_opens_with_what_it_shows(page):
    for section in page.split("<section>")[1:]:
        assert re.match(r'<h2>[^<]+</h2><p class="lead">[^<]{40,}', section)


def test_the_page_loads_nothing_and_runs_nothing(page):
    read = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "img", "image", "base"} & set(read.tags)
    assert "http" not in page
    assert "@import" not in page
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "href", "xlink:href") or value.startswith("#")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


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
        *sentences(assessment),
        *assessment["ledger"]["sentences"],
        *assessment["reward"]["sentences"],
        *assessment["notes"],
    ):
        assert sentence.replace("'", "&#x27;") in plain
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


def printed(assessment, width=160):
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(assessment))
    return console.file.getvalue()


def test_in_the_terminal_each_prediction_has_a_row_with_the_model_first():
    assessment = example()[-1]
    lines = printed(assessment).splitlines()
    names = [line.split("  ")[0].strip() for line in lines]
    assert [name for name in names if name in assessment["metrics"]] == list(assessment["metrics"])
    assert lines.index(next(line for line in lines if "reward model" in line)) < lines.index(
        next(line for line in lines if "LightGBM" in line)
    )


def test_in_the_terminal_log_loss_and_gain_have_intervals_and_the_other_metrics_a_value():
    assessment = example()[-1]
    lines = printed(assessment).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("LightGBM") or " LightGBM" in line)
    shown, below = lines[at], lines[at + 1]
    found = assessment["metrics"]["LightGBM"]
    gain = assessment["carry"]["gains"]["activity only"]["LightGBM"]
    expected = [found["log_loss"], gain, *(found[it] for it in ("brier", "auc", "c_index", "calibration_error"))]
    numbers = [float(cell.replace("−", "-")) for cell in shown.split()[1:]]
    assert numbers == pytest.approx([it["value"] for it in expected], abs=6e-4)
    assert below.count(" to ") == 2
    assert f"{assessment['metrics']['LightGBM']['log_loss']['low']:.3f}" in below
    assert "95% intervals" in printed(assessment)


def test_the_terminals_table_fits_eighty_columns_without_cutting_a_number():
    text = printed(example()[-1], width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


@pytest.mark.parametrize("names", [("reward model",), ("reward model", "base rate")])
def test_in_the_terminal_what_is_missing_is_a_dash(names):
    predictions, *rest = sample(n=6, users=3, items=4, seed=3)
    text = printed(assessed({name: predictions[name] for name in names}, *rest))
    assert "–" in text
    assert "nan" not in text
    assert "None" not in text


def test_in_the_terminal_a_name_is_never_read_as_markup():
    predictions, *rest, _ = example()
    assessment = assessed(
        {"[red]model[/red]": predictions["reward model"]}, *rest, model="[red]model[/red]", resamples=3
    )
    assert "[red]model[/red]" in printed(assessment)


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
    settings = {name: assessment[name] for name in ("unit", "feedback", "resamples", "seed", "level")}
    assessment["truth"] = against_truth(items, **settings)
    read = Page(written(assessment, items=items))
    assert read.open == []
    assert read.text["h2"][1] == "Against the truth"
    assert sentences(assessment)[-len(assessment["truth"]["sentences"]) :] == assessment["truth"]["sentences"]
    drawing = truth_picture(assessment, items)
    assert drawing.startswith("<svg")
    assert "#0a0a0" not in drawing  # a stand-in for a colour
    told = assessment["truth"]["correlation"]["learned reward"]["value"]
    assert (told is None) == (strength == 0)


def test_how_far_a_ranker_may_be_pushed_is_drawn_where_it_is_known(page):
    it = {
        "limit": 0.4,
        "divergence": [0.1, 0.4],
        "promised": [0.02, 0.05],
        "kept": [0.02, 0.03],
        "kept_se": [0.01, 0.01],
        "low": [0.0, 0.01],
        "high": [0.04, 0.05],
    }
    push = {"0": it, "1": it | {"limit": 0.0}}
    read = Page(written(example()[-1], push=push))
    assert read.open == []
    assert read.text["h2"][-2] == "How far a ranker may be pushed"
    assert len(read.tags) > len(Page(page).tags)


def test_it_is_not_drawn_from_propensities_that_fail_their_check():
    push = {"0": {"limit": 0.0, "divergence": [0.1], "promised": [0.1], "kept": [0.1], "kept_se": [0.1]}}
    told = {"push": push | {"1": {"divergence": []}}, "balance": {"flagged": False}}
    assert pushed_in(told) == push
    assert pushed_in(told | {"balance": {"flagged": True}}) is None
    assert pushed_in({"push": {"0": {"divergence": []}}, "balance": {"flagged": None}}) is None
    assert pushed_in({"reason": "no propensities"}) is None
    assert pushed_in(None) is None
