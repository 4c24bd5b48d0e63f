"""The command line and the plan: what is wrong, and how it says so."""

import pytest


@pytest.fixture
def needed(directory, plan):
    return ["--region", directory / "region", "--plan", plan]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "x"], '--port is "x"'),
        (["--port", ""], '--port is ""'),
        (["--port", "-1"], '--port is "-1"'),
        (["--port", "65536"], '--port is "65536"'),
        (["--port", "80x"], '--port is "80x"'),
        (["--workers", "0"], '--workers is "0"'),
        (["--workers", "65"], '--workers is "65"'),
        (["--workers", "99999999999999999999"], "--workers is"),
        (["--keys", "0"], '--keys is "0"'),
        (["--max-window-ms", "4294967296"], "--max-window-ms is"),
        (["--headers", "none"], '--headers is "none"'),
        (["--region", ""], "--region is missing"),
        (["--frobnicate"], "--frobnicate"),
        (["--port"], "--port"),
        (["stray"], 'unexpected argument "stray"'),
    ],
)
def test_a_wrong_option_is_status_2_and_named(run, needed, arguments, message):
    result = run(*needed, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "--help" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("missing", ["--region", "--plan"])
def test_what_is_needed_and_missing_is_status_2_and_named(run, needed, missing):
    at = needed.index(missing)
    result = run(*needed[:at], *needed[at + 2 :])
    assert result.returncode == 2
    assert f"{missing} is missing" in result.stderr


def test_help_names_every_option(run):
    result = run("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for option in ("port", "bind", "workers", "region", "keys", "plan"):
        assert f"--{option} " in result.stdout
    for option in ("headers", "max-window-ms", "pid-file", "version"):
        assert f"--{option} " in result.stdout


def test_version_is_printed(run):
    result = run("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("mavera-gateway, mavera_rl ")


# --- plan ---


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[tiers]\nstarter = 60\n\nbasic = = 1\n", 4, ""),
        ("[tiers]\nstarter = 60\nbasic = -5\n", 3, "basic"),
        ("[tiers]\nstarter = 60\n[keys]\n\n'key-x' = 'gold'\n", 5, "gold"),
        ("[tiers]\nstarter = { limit = 6, window = 'soon' }\n", 2, "window"),
    ],
)
def test_a_faulty_plan_is_status_2_and_names_file_and_line(
    run, needed, plan, text, line, word
):
    plan.write_text(text)
    result = run(*needed, "--port", "0")
    assert result.returncode == 2
    assert f"{plan}:{line}" in result.stderr
    assert word in result.stderr
    assert result.stdout == ""


def test_a_plan_that_is_not_there_is_status_2_and_named(run, needed, plan):
    plan.unlink()
    result = run(*needed)
    assert result.returncode == 2
    assert str(plan) in result.stderr


# --- what cannot be had ---


def test_an_address_that_is_none_is_status_1_and_named(run, needed):
    result = run(*needed, "--port", "0", "--bind", "nowhere")
    assert result.returncode == 1
    assert "nowhere" in result.stderr


def test_the_port_of_a_running_gateway_is_refused(start, run, needed):
    port = str(start().port)
    result = run(*needed, "--port", port)
    assert result.returncode == 1
    assert f"port {port}" in result.stderr
    assert "in use" in result.stderr


def test_a_region_that_cannot_be_made_is_status_1_and_named(
    run, directory, plan
):
    region = directory / "missing" / "region"
    result = run("--region", region, "--plan", plan, "--port", "0")
    assert result.returncode == 1
    assert str(region) in result.stderr
    assert result.stdout == ""


def test_a_file_that_is_no_region_is_status_1_and_named(run, needed, directory):
    (directory / "region").write_bytes(b"not a region" * 1000)
    result = run(*needed, "--port", "0")
    assert result.returncode == 1
    assert str(directory / "region") in result.stderr
    assert (directory / "region").read_bytes() == b"not a region" * 1000


def test_options_unlike_the_regions_are_status_1_and_both_named(
    start, run, needed
):
    start()
    result = run(*needed, "--port", "0", "--keys", "2000")
    assert result.returncode == 1
    assert "1000" in result.stderr
    assert "2000" in result.stderr


def test_a_pid_file_that_cannot_be_written_is_status_1_and_named(
    run, needed, directory
):
    path = directory / "missing" / "pid"
    result = run(*needed, "--port", "0", "--pid-file", path)
    assert result.returncode == 1
    assert str(path) in result.stderr


# --- longer windows than the default ---


LONG = """\
[tiers]
long = { limit = 5, window = "5m" }
[endpoints]
"/mave/chat" = 10
[keys]
"k" = "long"
"""


def test_a_window_the_region_cannot_hold_is_503_and_logged(start, plan):
    plan.write_text(LONG)
    gateway = start("--max-window-ms", 60_000)
    for _ in range(5):
        answer = gateway.ask("k")
        assert answer.status == 503
        assert answer["Content-Type"] == "application/json"
        assert b'"code":"service_unavailable"' in answer.body
    log = gateway.log.read_text()
    assert "cannot admit a request" in log
    assert log.count("cannot check") < 5


@pytest.mark.parametrize("options", [(), ("--max-window-ms", 300_000)])
def test_a_region_holds_the_plans_longest_window(start, plan, options):
    plan.write_text(LONG)
    gateway = start(*options)
    statuses = [gateway.ask("k").status for _ in range(6)]
    assert statuses == [200] * 5 + [429]
