"""What somebody sees first: few lines, and three sentences that the intervals and the verdict carry."""

import io
import itertools
from dataclasses import replace

import pytest
from rich.console import Console
from situations import SITUATIONS
from test_assessment import assessed, example

from reward.causal.diagnostics.summary import Verdict, not_estimated, verdict
from reward.evaluation.estimates import Estimate
from reward.evaluation.findings import Metric
from reward.evaluation.leakage import Leakage, Suspect
from reward.evaluation.policy_values import PolicyEstimate, PolicyValues
from reward.evaluation.simulated_truth import AgainstTruth
from reward.report.saved import from_json
from reward.report.summary import HEADS, TrainingGain, in_short
from reward.report.terminal import (
    MOST_LINES,
    beside_the_truth,
    sentences,
    table_of,
    what_was_read,
    what_was_refit,
    where_things_are,
)

GAINS = {
    "above": Estimate(-0.0012, -0.0021, -0.0003),
    "open": Estimate(-0.0002, -0.0011, 0.0007),
    "below": Estimate(0.0034, 0.0011, 0.0057),
    "unknown": Estimate(0.0034),
    "none": None,
}
LEAK = Leakage(7, (Suspect("session_total_ms", 0.9, 0.1, 0.01), Suspect("click", 0.1, 0.1, 0.01)))
PLAIN = from_json(example()[-1])


def judged(gain, **more):
    """The example's evaluation with another difference to past activity: model minus activity only, in log-loss."""
    if GAINS[gain] is None:
        return replace(PLAIN, differences={}, **more)
    other = replace(PLAIN.differences["activity only"], log_loss=Metric(GAINS[gain], 10, 5))
    return replace(PLAIN, differences={"activity only": other}, **more)


def screen(assessment, effects, folder, width):
    """The lines of a run's first screen, as train.py prints its parts."""
    console = Console(file=io.StringIO(), width=width)
    days = ["2024-01-01", "2024-02-06", "2024-02-15"]
    for line in what_was_read(rows=12_345_678, users=1_234_567, items=123_456, rejected=12_345, days=days):
        console.print(line)
    console.print(what_was_refit("all", effects, effects))
    console.print(table_of(assessment))
    for sentence in sentences(assessment, effects):
        console.print(sentence)
    for line in where_things_are(folder):
        console.print(line)
    return console.file.getvalue().splitlines()


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "reward").mkdir()
    for name in ("evaluation/report.html", "metrics.json", "rejected.parquet"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_first_screen_leaves_room_for_what_is_not_read_the_time_and_the_folder(situation, width, run_folder):
    for gain, canary in itertools.product(GAINS, (None, LEAK)):
        lines = screen(judged(gain, leakage=canary), SITUATIONS[situation], run_folder, width)
        assert len(lines) <= MOST_LINES - 7, "\n".join(lines)  # columns that are not read, the time, the folder
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize("situation", SITUATIONS)
def test_three_sentences_say_the_verdict_and_advise_nothing_that_it_does_not_carry(situation):
    effects = SITUATIONS[situation]
    for gain in GAINS:
        forecast, said, then = in_short(judged(gain), effects)
        assert forecast.startswith(
            {
                "above": "better than past activity alone",
                "open": "no better than past activity alone",
                "below": "worse than past activity alone",
                "unknown": "there are too few users to say whether it is better",
                "none": "not compared",
            }[gain]
        )
        carried = verdict(effects) in (Verdict.SUPPORTED, Verdict.TO_BE_TESTED)
        assert ("changes how often" in said or "seems to change" in said) == carried
        assert ("A/B test" in then) == carried
        assert ("nats" in then) <= carried
        assert ("use the forecasts" in then) <= (gain == "above")
        if verdict(effects) is not Verdict.NOT_ESTIMATED:
            assert ("do not use the rewards" in then or "not the rewards" in then) == (not carried)
        if effects and effects.propensities == "estimated":
            assert "propensity" in then


WORDS = {
    "supported": (
        "how often users come back: held-out users show 0.90 days for each day of reward (95",
        "train a ranker",
    ),
    "supported, to be pushed": ("held-out users show 0.90 days", "at most 0.1 nats from what is shown today"),
    "supported, nothing to gain from leaning": (
        "held-out users show 0.90 days for each day of effect",
        "no gain from leaning is certain",
    ),
    "estimated propensities": ("but propensities are estimated", "small A/B test"),
    "balance not checked": ("but balance was not checked", "log more days so that balance can be checked"),
    "flagged": ("none is claimed", "find what the service follows"),
    "estimated and flagged": ("none is claimed", "log the chance of each item shown"),
    "no effect": (
        "none that this log can distinguish from zero: held-out users show 0.10 days for each day of effect",
        "try more",
    ),
    "rewards add nothing certain": ("from zero: held-out users show 0.10 days for each day of reward", "try more"),
    "all alike": ("none that this log can distinguish from zero: all estimates are the same", "try more"),
    "contradicted": ("contradicted: held-out users show −1.0", "check how propensities are logged"),
    "personal part contradicted": (
        "contradicted: held-out users show −1.00 days for each day of personal effect",
        "check how propensities are logged",
    ),
    "not estimated": ("not estimated. They need outcome.scope=user.", "use the forecasts"),
    "no account": ("not estimated. The artefact keeps no summary of effects", "use the forecasts"),
}


@pytest.mark.parametrize("situation", WORDS)
def test_each_situation_has_its_words(situation):
    said = in_short(judged("above"), SITUATIONS[situation])
    for sentence, words in zip(said[1:], WORDS[situation], strict=True):
        assert words in sentence


def test_every_situation_is_one_with_words_of_its_own():
    assert set(WORDS) == set(SITUATIONS)


def test_a_column_that_leaks_comes_before_all_advice():
    for effects in SITUATIONS.values():
        then = in_short(judged("above", leakage=LEAK), effects)[-1]
        assert then.startswith("leave out session_total_ms and train again")
        assert "click" not in then


@pytest.mark.parametrize(("change", "warned"), [((-0.2, -0.3, -0.1), True), ((0.1, -0.1, 0.3), False), (None, False)])
def test_where_leaning_on_rewards_loses_by_the_log_s_own_propensities_no_test_is_advised_yet(change, warned):
    change = None if change is None else Estimate(*change)
    estimate = PolicyEstimate("leaning on the reward", "days", 10, 10.0, 2.0, change)
    assessment = judged("above", policies=PolicyValues(0.3, 0.95, (estimate,), ()))
    then = in_short(assessment, SITUATIONS["supported"])[-1]
    assert ("find out why leaning on them loses" in then) == warned
    assert ("train a ranker on the rewards and try" in then) == (not warned)


def test_where_training_gained_nothing_the_forecast_is_said_to_be_that_of_past_activity():
    nothing = TrainingGain(0.0, "Training gained nothing.")
    said = in_short(judged("open"), None, nothing)[0]
    assert said.startswith("the same as past activity alone, because training gained")
    assert in_short(judged("open"), None, replace(nothing, share=0.5))[0].startswith("no better than past activity")


def test_a_long_reason_is_cut_and_the_report_has_it_whole():
    said = in_short(judged("above"), not_estimated("they need more: " + "one thing and another, " * 40))[1]
    assert len(said) < 200
    assert said.endswith(" ....")


def test_a_table_shows_the_model_its_gain_with_the_interval_and_the_rivals():
    console = Console(file=io.StringIO(), width=80)
    assessment = example()[-1]
    console.print(table_of(PLAIN))
    header, *lines = console.file.getvalue().splitlines()
    assert "gain over activity only, 95%" in header
    names = [name for name in assessment["metrics"] if name not in ("base rate", "feedback only")]
    assert [line.split("  ")[0].strip() for line in lines] == names
    gain = assessment["carry"]["gains"]["activity only"]["LightGBM"]
    line = next(line for line in lines if line.startswith("LightGBM"))
    numbers = [float(it.strip("()").replace("−", "-")) for it in line.split()[1:] if it != "to"]
    found = assessment["metrics"]["LightGBM"]
    expected = [found["log_loss"]["value"], gain["value"], gain["low"], gain["high"], found["auc"]["value"]]
    assert numbers == pytest.approx(expected, abs=6e-4)
    assert "–" in next(line for line in lines if line.startswith("activity only"))


@pytest.mark.parametrize("names", [("reward model",), ("reward model", "base rate")])
def test_a_table_of_few_predictions_has_dashes_for_what_is_missing(names):
    predictions, *rest = example()[:-1]
    console = Console(file=io.StringIO(), width=100)
    few = assessed({name: predictions[name] for name in names}, *rest, resamples=3)
    console.print(table_of(from_json(few)))
    text = console.file.getvalue()
    assert all(name in text for name in names)
    assert "–" in text
    assert "nan" not in text
    assert "None" not in text


def test_a_name_is_never_read_as_markup():
    predictions, *rest, _ = example()
    named = {"[red]model[/red]": predictions["reward model"]}
    console = Console(file=io.StringIO(), width=100)
    console.print(table_of(from_json(assessed(named, *rest, model="[red]model[/red]", resamples=3))))
    assert "[red]model[/red]" in console.file.getvalue()


def test_where_the_truth_is_known_one_line_says_how_near_it_is():
    correlation = {"click rate": Estimate(-0.604), "learned reward": Estimate(0.805)}
    found = AgainstTruth(83, False, correlation, slope=1.0, covered=0.9, spread=None)
    (line,) = beside_the_truth(replace(PLAIN, truth=found))
    assert line == "correlation with the true effects of 83 items: click rate −0.60, learned reward 0.81"
    none = replace(found, correlation=dict.fromkeys(correlation, Estimate()))
    assert beside_the_truth(replace(PLAIN, truth=none)) == beside_the_truth(PLAIN) == []


def test_a_run_folder_names_what_is_there_and_nothing_else(run_folder):
    (line,) = where_things_are(run_folder)
    assert line == (
        "in the run folder, report: evaluation/report.html, scoring function: reward, every figure: metrics.json, "
        "rows set aside: rejected.parquet"
    )
    (run_folder / "rejected.parquet").unlink()
    assert "rejected" not in where_things_are(run_folder)[0]


@pytest.mark.parametrize("wanted", Verdict)
def test_every_verdict_is_among_the_situations(wanted):
    assert wanted in {verdict(found) for found in SITUATIONS.values()}


def test_a_refit_says_what_it_was_and_whether_it_changes_the_verdict():
    good, none = SITUATIONS["supported"], SITUATIONS["no effect"]
    assert what_was_refit("effects", good, good) == "effects fitted again on all days, after the evaluation"
    said = what_was_refit("all", good, none)
    assert said.startswith("network and effects fitted again")
    assert said.endswith("; with these the verdict on effects is not detected, and was supported")


def test_the_heads_are_those_of_the_sentences():
    assert len(in_short(judged("open"), None)) == len(HEADS) == 3
