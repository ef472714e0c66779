import inspect
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from reward.encoders.gru import GRU
from reward.features.events import Features
from reward.heads.trace import TraceHead
from reward.objectives.likelihood import trace_likelihood
from reward.outcomes.activity import ActivityTrace
from reward.targets import locate
from reward.training.wiring import check_names, check_signatures

GRU_NODE = {"_target_": "reward.encoders.gru.GRU", "width": 8, "layers": 1, "dropout": 0.0}


def path_of(part):
    return f"{part.__module__}.{part.__qualname__}"


def test_a_target_is_found_by_its_full_path():
    assert locate("reward.encoders.gru.GRU") is GRU
    assert locate("reward.objectives.likelihood.trace_likelihood") is trace_likelihood
    assert locate("reward.features.events.Features.fit") == Features.fit


@pytest.mark.parametrize(
    "target", ["reward.encoders.gru.LSTM", "reward.nothing.GRU", "GRU", "nothing.at.all", "reward.encoders.gru.GRU.fit"]
)
def test_a_target_that_is_not_there_is_refused_by_name(target):
    with pytest.raises(TypeError, match=f"_target_='{target}' expected the full path .* found nothing there: "):
        locate(target)


def test_a_target_whose_module_cannot_be_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "backbone_of_mine.py").write_text("import a_library_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match="No module named 'a_library_nobody_has'"):
        locate("backbone_of_mine.Encoder")


def test_every_encoder_binds_to_what_it_needs(encoder_class, small_arguments):
    check_signatures({"_target_": path_of(encoder_class), **small_arguments(encoder_class)})


def test_every_head_binds_to_what_it_needs(head_class, small_arguments):
    check_signatures({"_target_": path_of(head_class), **small_arguments(head_class)})


def test_every_objective_binds_as_a_partial(objective):
    check_signatures({"_target_": path_of(objective), "_partial_": True})


def test_a_config_that_fits_passes_and_nothing_is_called():
    check_signatures(
        {
            "seed": 3,
            "encoder": GRU_NODE,
            "outcome": {"_target_": "reward.outcomes.activity.ActivityTrace", "horizon_days": 999},  # would raise
            "callbacks": [{"_target_": "builtins.dict", "anything": 1}],
            "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.1},
        }
    )


def test_everything_that_does_not_fit_is_listed_with_where_it_stands():
    with pytest.raises(TypeError) as caught:
        check_signatures(
            {
                "encoder": {**GRU_NODE, "widht": 8},
                "model": {"parts": [{"_target_": "reward.heads.trace.TraceHead", "width": 8, "members": 1}]},
                "logger": {"_target_": "reward.logger.Nothing"},
                "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "rate": 0.1},
                "fine": GRU_NODE,
            }
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "the config does not fit the parts it names:"
    assert len(lines) == 5
    assert "encoder: reward.encoders.gru.GRU takes no widht; it takes width, layers, dropout" in lines[1]
    assert "model.parts[0]: reward.heads.trace.TraceHead needs hidden, horizon_days" in lines[2]
    assert "logger: _target_='reward.logger.Nothing'" in lines[3]
    assert "optimizer: torch.optim.AdamW takes no rate" in lines[4]


def test_an_argument_of_a_partial_may_come_later_but_an_unknown_one_may_not():
    check_signatures({"head": {"_target_": "reward.heads.trace.TraceHead", "_partial_": True, "width": 8}})
    with pytest.raises(TypeError, match="takes no depth"):
        check_signatures({"head": {"_target_": "reward.heads.trace.TraceHead", "_partial_": True, "depth": 8}})


def test_what_a_target_takes_any_number_of_is_not_missing():
    check_signatures({"layers": {"_target_": "torch.nn.Sequential"}})


def test_a_builtin_that_does_not_say_what_it_takes_passes():
    check_signatures({"settings": {"_target_": "builtins.dict", "whatever": 1}})


def test_a_target_that_takes_any_keyword_still_needs_its_own():
    node = {"_target_": f"{__name__}.greedy", "more": 1}
    with pytest.raises(TypeError, match="greedy needs width"):
        check_signatures({"part": node})
    check_signatures({"part": {**node, "width": 1}})


def greedy(width, *rest, **more):
    raise AssertionError("a config is checked without calling anything")


def test_head_outcome_and_objective_that_share_their_names_pass(build):
    check_names(build(TraceHead), ActivityTrace(5), trace_likelihood)
    check_names(build(TraceHead), ActivityTrace(5), partial(trace_likelihood))


def test_every_objective_reads_what_a_head_gives_and_then_targets(objective):
    needed = [name for name, each in inspect.signature(objective).parameters.items() if each.default is each.empty]
    given = [name.endswith("_logits") or name.startswith(("log_", "response_")) for name in needed]
    assert given == sorted(given, reverse=True)
    assert any(given)
    assert not all(given)
    head, outcome = SimpleNamespace(outputs=needed[: sum(given)]), SimpleNamespace(targets=needed[sum(given) :])
    check_names(head, outcome, objective)


def test_names_that_nobody_provides_or_reads_are_listed(build):
    def survival(hazard_logits, trace, weight=None):
        raise AssertionError("never called")

    with pytest.raises(TypeError) as caught:
        check_names(build(TraceHead), ActivityTrace(5), survival)
    text = str(caught.value)
    assert "survival reads hazard_logits, trace;" in text
    assert "TraceHead gives trace_logits and ActivityTrace gives trace, observed;" in text
    assert "missing: hazard_logits;" in text
    assert text.endswith("unread: observed, trace_logits")


def test_an_option_of_an_objective_is_no_name_to_provide(build):
    def tempered(trace_logits, trace, observed, *, temperature=1.0):
        return trace_likelihood(trace_logits / temperature, trace, observed)

    check_names(build(TraceHead), ActivityTrace(5), tempered)
    check_names(build(TraceHead), ActivityTrace(5), partial(tempered, temperature=2.0))
    logits = torch.zeros(1, 1, 2)
    assert tempered(logits, torch.zeros(1).long(), torch.ones(1).long()).shape == (1, 1)


def test_what_an_objective_does_not_read_is_refused(build):
    def half(trace_logits, trace):
        raise AssertionError("never called")

    with pytest.raises(TypeError, match="missing: nothing; unread: observed"):
        check_names(build(TraceHead), ActivityTrace(5), half)
