"""tools/report.py."""

from report_runs import write_run
from tool_helpers import load_tool


def test_it_writes_beside_the_run_and_prints_the_path(tmp_path, capsys):
    run = write_run(tmp_path / "scrl")
    assert load_tool("report").main([str(run)]) == 0
    path = run / "report.html"
    assert capsys.readouterr().out.strip() == str(path)
    assert "scrl" in path.read_text(encoding="utf-8")


def test_several_runs_in_a_file_of_ones_own(tmp_path, capsys):
    runs = [write_run(tmp_path / x) for x in "ab"]
    target = tmp_path / "both.html"
    assert load_tool("report").main([*map(str, runs), "--output", str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target) and target.is_file()
    assert load_tool("report").main([*map(str, runs)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")


def test_a_folder_without_runs(tmp_path, capsys):
    assert load_tool("report").main([str(tmp_path)]) == 2
    assert "error: No run lies in" in capsys.readouterr().err
