"""What all benchmarks have in common, and that they have it from one place."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
FILES = sorted(FOLDER.rglob("*.py"))
TOOLS = {"goals", "harness", "smoke", "training"}
BENCHMARKS = sorted(file for file in FOLDER.glob("*.py") if file.stem not in TOOLS)


def name_of(file):
    return str(file.relative_to(FOLDER))


@pytest.fixture
def harness(benchmark):
    return benchmark("harness")


@pytest.fixture
def bench(harness, tmp_path):
    """Words -> a benchmark that was told them, its options and the names of its file."""

    def made(*words, smoke=None, **constants):
        names = {"__doc__": "A question?", "__file__": str(tmp_path / "asked.py"), "SIZE": 10}
        it = harness.Benchmark(names, harness.Smoke(smoke or "", **constants), cache="asked")
        it.add("--size", type=int, default=3)
        it.add_settings()
        return it, it.parse(words), names

    return made


def test_a_row_has_one_form_and_what_is_not_finite_is_none(harness):
    row = harness.result_row("a log", "C-index", np.float64(0.5), np.nan, {"peer": np.inf}, ">= 0.4", np.bool_(1))
    assert row == {
        **{"what": "a log", "metric": "C-index", "ours": 0.5, "se": None, "peers": {"peer": None}},
        **{"goal": ">= 0.4", "met": True},
    }
    assert harness.result_row("a", "b", 1.0, met=True)["met"] is None  # nothing was asked for
    json.dumps(row, allow_nan=False)


def test_means_and_shares_have_their_standard_errors_by_hand(harness):
    assert harness.mean_and_se([1.0, 3.0]) == pytest.approx((2.0, 1.0))
    assert harness.mean_and_se([7.0]) == (7.0, None)
    assert harness.share_and_se([True, False, False, True]) == pytest.approx((0.5, 0.25))


def test_a_table_of_markdown_has_intervals_and_no_empty_column(harness):
    rows = [
        harness.result_row("a|b", "days", 2.0, 0.5, {"peer": 1.5}),
        harness.result_row("c", "days", None),
    ]
    assert harness.markdown(rows) == (
        "| what | metric | ours | 95% interval | peers |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| a\\|b | days | 2.0000 | 1.0200 to 2.9800 | peer 1.5000 |\n"
        "| c | days | – |  |  |\n"
    )


@pytest.mark.parametrize(
    ("name", "made"), [("a.json", {"one": [1, 2.5]}), ("a.npz", {"one": np.arange(3), "two": np.array(0.5)})]
)
def test_what_is_kept_is_made_once(harness, tmp_path, name, made):
    file = tmp_path / "new" / name
    assert harness.kept(file) is None
    first = harness.kept(file, lambda: made)
    again = harness.kept(file, lambda: pytest.fail("it was made twice"))
    assert list(first) == list(again) == list(made)
    for key, values in made.items():
        np.testing.assert_array_equal(again[key], values)


def test_a_job_that_fails_leaves_those_before_it_to_go_on_from(bench, harness, tmp_path):
    it = bench()[0]
    jobs = {tmp_path / "a.json": lambda: [1], tmp_path / "b.json": lambda: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        it.keep(jobs, "jobs")
    it.keep({tmp_path / "a.json": None, tmp_path / "b.json": lambda: [2]}, "jobs")  # None would fail if it was called
    assert [harness.kept(file) for file in jobs] == [[1], [2]]


def test_in_little_its_words_count_and_then_those_that_are_given_and_nothing_is_written_in_the_tree(bench, harness):
    it, chosen, names = bench("--smoke", smoke="--size 5", SIZE=1)
    assert (chosen.size, names["SIZE"]) == (5, 1)
    assert not {chosen.out, chosen.cache} & {harness.RESULTS / "asked.json", harness.ROOT / "outputs" / "asked"}
    assert harness.ROOT not in {*chosen.out.parents, *chosen.cache.parents}
    it.finish([harness.result_row("a", "b", 1.0)])
    assert json.loads(chosen.out.read_text())["rows"][0]["ours"] == 1.0
    folder = chosen.out.parent
    del it
    assert bench("--smoke", "--size", "7", smoke="--size 5")[1].size == 7
    assert not folder.exists()


def test_at_its_size_it_writes_where_the_results_are(bench, harness):
    _, chosen, names = bench(smoke="--size 5", SIZE=1)
    assert (chosen.size, names["SIZE"]) == (3, 10)
    assert (chosen.out, chosen.cache) == (harness.RESULTS / "asked.json", harness.ROOT / "outputs" / "asked")


def test_what_other_settings_give_is_kept_apart(bench):
    plain, small, large = (
        bench("--cache", "here", *words)[1].cache
        for words in ((), ("--settings", "encoder.width=8"), ("--settings", "encoder.width=9"))
    )
    assert plain == Path("here")
    assert small.parent == large.parent == plain
    assert small != large


def test_the_result_has_what_it_took_and_markdown_is_printed_where_it_is_asked_for(bench, harness, tmp_path, capsys):
    it, chosen, _ = bench("--markdown", "--out", str(tmp_path / "out.json"))
    it.finish([harness.result_row("a", "b", 1.0)], show=lambda: pytest.fail("a table was asked for"))
    assert "| a | b | 1.0000 |" in capsys.readouterr().out
    result = json.loads(chosen.out.read_text())
    assert set(result) == {"commit", "machine", "rows", "seconds"}
    assert set(result["seconds"]) == {"wall", "cpu"}
    it.finish([], write=False)
    assert json.loads(chosen.out.read_text()) == result


def test_a_peer_whose_library_is_missing_is_left_out_by_name(bench, capsys):
    it = bench()[0]
    assert it.without({"NumPy": "numpy", "the other": "no_such_library"}) == {"the other"}
    assert "the other is left out: no_such_library is not installed" in capsys.readouterr().out


def names_used(file):
    """Names and attributes in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (it.name for it in node.names)


@pytest.mark.parametrize("file", BENCHMARKS, ids=name_of)
def test_a_benchmark_runs_in_little(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    made = {it.id for node in tree.body if isinstance(node, ast.Assign) for it in node.targets if hasattr(it, "id")}
    assert "SMOKE" in made, "make SMOKE = Smoke(...), by which all of it runs in seconds"
    assert ast.get_docstring(tree)
    assert "Benchmark" in names_used(file)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_benchmark_wires_nothing_itself(file):
    wiring = {"initialize_config_dir", "compose", "RewardModel", "StreamData", "ArgumentParser", "write_result"}
    here = {"training.py": {"RewardModel", "StreamData"}, "harness.py": {"ArgumentParser", "write_result"}}
    here |= {"smoke.py": {"ArgumentParser"}, "goals.py": {"ArgumentParser"}, "waiting/events.py": {"StreamData"}}
    assert set(names_used(file)) & wiring <= here.get(name_of(file), set())


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_and_its_functions_are_short(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            said = node.body[0] if ast.get_docstring(node) else None
            lines = node.end_lineno - node.lineno + 1 - (said.end_lineno - said.lineno + 1 if said else 0)
            assert lines <= 61, node.name


def test_smoke_runs_all_that_measure_something_and_tells_of_one_that_fails(benchmark, monkeypatch, capsys):
    smoke = benchmark("smoke")
    assert smoke.names() == [file.stem for file in BENCHMARKS]
    lope = benchmark("lope")

    def broken(words):
        print("so far")
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(lope, "main", broken)
    with pytest.raises(SystemExit) as ended:
        smoke.main(["lope", "off_policy"])
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "lope: failed" in told
    assert "ZeroDivisionError: by nothing" in told
    assert "s  off_policy\n" in told
    assert "failed: lope" in told
