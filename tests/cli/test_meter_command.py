"""``greencv meter``: any program, with its own output, signals and exit code, and its energy."""

import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios

import pytest

from greencv_core.metering.ranks import LOCAL_RANKS
from tests.conftest import GREENCV, ROOT, hear_signals
from tests.support import simulated_gpu
from tests.support.powercap import Powercap
from tests.support.simulated_gpu import constant

POWER_W = 250.0
NO_COUNTERS = {"GREENCV_POWERCAP": "/nonexistent"}
"""CPU and RAM are estimated."""
READY = "import sys, time; print('ready', flush=True); "


@pytest.fixture
def environment(library, tmp_path):
    """Return an environment with a GPU of known power, and dead counters of CPU and RAM.

    CodeCarbon, which takes seconds to start, is not needed then.
    """
    found = simulated_gpu.environment(library, constant(POWER_W), refresh_s=0.1)
    found = {name: value for name, value in found.items() if name not in LOCAL_RANKS}
    powercap = Powercap(tmp_path / "powercap")
    return {**found, "COLUMNS": "160", "GREENCV_POWERCAP": str(powercap.root)}


@pytest.fixture
def meter(environment):
    """Return a function that runs ``greencv meter`` with these arguments."""

    def run(*arguments, stdin=b"", **variables):
        return subprocess.run(
            [GREENCV, "meter", *map(str, arguments)],
            input=stdin, capture_output=True, cwd=ROOT, env={**environment, **variables},
            timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture
def begin(environment):
    """Return a function that starts ``greencv meter`` and waits until its program runs."""
    processes = []

    def start(*arguments, **options):
        process = subprocess.Popen(
            [GREENCV, "meter", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=ROOT, env=environment, start_new_session=True,
            **{"preexec_fn": hear_signals, **options},
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def gpu_energy_j(shown):
    """Return the GPU's energy in the table on standard error."""
    (energy_j,) = re.findall(r"^GPU +([\d.,]+) .* measured ", shown.decode(), re.M)
    return float(energy_j.replace(",", ""))


def python(code):
    return "--", sys.executable, "-c", code


def test_input_output_environment_and_exit_code_are_the_programs(meter):
    binary = bytes(range(256)) * 300
    code = (
        "import os, sys; text = sys.stdin.buffer.read(); sys.stdout.buffer.write(text[::-1]); "
        "sys.stderr.write('its own error\\n'); print(sorted(os.environ.items()), sys.argv[1:]); "
        "sys.exit(7)"
    )
    arguments = ["a b", "--json", "x", "--", "$HOME", "-h"]
    alone = subprocess.run(
        [sys.executable, "-c", code, *arguments], input=binary, capture_output=True,
        env=None, check=False,
    )  # fmt: skip
    done = meter(*python(code), *arguments, stdin=binary)
    assert done.returncode == alone.returncode == 7
    assert done.stdout.startswith(binary[::-1])
    assert str(arguments).encode() in done.stdout
    assert done.stderr.startswith(b"its own error\n")
    assert b"\x1b" not in done.stderr  # no live line and no colours without a terminal
    assert b"exit code 7" in done.stderr


def test_the_programs_environment_is_not_changed(meter, environment):
    done = meter(*python("import json, os; print(json.dumps(dict(os.environ)))"))
    theirs = json.loads(done.stdout)
    assert {name: theirs.get(name) for name in environment} == environment
    # Some platforms' interpreters add this one themselves.
    assert theirs.keys() - environment.keys() <= {"LC_CTYPE"}


def test_open_files_are_the_programs(environment):
    command = f"{GREENCV} meter -- cat <(echo through a pipe)"
    done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=ROOT, env=environment)
    assert done.stdout == b"through a pipe\n"


@pytest.mark.realtime
def test_the_results_are_shown_and_written(meter, tmp_path):
    result, trace = tmp_path / "result.json", tmp_path / "trace.csv"
    secret = "opensesame"
    done = meter(
        "--json", result, "--trace", trace, "--intensity", 360,
        *python("import time; time.sleep(1.5)"), "--api-key", secret, "url?token=abcdef",
        MY_PASSWORD="unguessable", **NO_COUNTERS,
    )  # fmt: skip
    assert done.returncode == 0
    found = json.loads(result.read_text())
    duration_s = found["duration_s"]
    assert 1.5 <= duration_s < 2.5
    gpu = found["components"]["gpu"]
    true_j = POWER_W * duration_s
    assert gpu["energy_j"] == pytest.approx(true_j, rel=0.01)
    assert gpu["provenance"] == "measured"
    low_j, high_j = gpu["interval_j"]
    assert 0.9 * true_j < low_j < gpu["energy_j"] < high_j < 1.1 * true_j
    assert gpu_energy_j(done.stderr) == pytest.approx(true_j, rel=0.02)
    # CPU and RAM are estimated here, and so the sum is an estimate.
    assert found["provenance"] == "estimated"
    parts_j = sum(part["energy_j"] for part in found["components"].values())
    assert found["energy_j"] == pytest.approx(parts_j)
    assert found["mean_power_w"] == pytest.approx(parts_j / duration_s)
    assert found["emissions_gco2e"] == pytest.approx(parts_j / 3.6e6 * 360)
    assert found["exit_code"] == 0
    assert found["complete"]
    assert found["problems"] == []
    assert found["machine"]["cpu_count"] >= 1
    assert found["versions"]["greencv"]
    assert found["started_at"].endswith("+00:00")
    assert found["command"][-3:] == ["--api-key", "[…]", "url?token=[…]"]
    assert secret not in result.read_text() + done.stderr.decode()
    rows = [row for row in csv.DictReader(trace.open()) if row["component"] == "gpu"]
    assert [row["provenance"] for row in rows] == ["measured"] * len(rows)
    assert all(float(row["power_w"]) == pytest.approx(POWER_W, rel=0.1) for row in rows)
    assert float(rows[-1]["time_s"]) <= duration_s


def test_a_lost_meter_is_named_and_gives_no_total(meter, tmp_path):
    result, fallen = tmp_path / "result.json", tmp_path / "fallen"
    code = f"import time; time.sleep(1); open({str(fallen)!r}, 'w'); time.sleep(1)"
    done = meter("--json", result, *python(code), STAND_IN_LOST_FILE=str(fallen))
    assert done.returncode == 0
    found = json.loads(result.read_text())
    assert found["energy_j"] is found["provenance"] is found["mean_power_w"] is None
    assert "gpu" not in found["components"]
    assert not found["complete"]
    assert any("GPU" in problem for problem in found["problems"])
    assert b"no total: " in done.stderr


def test_a_program_that_cannot_be_started(meter, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for command, code, reason in (
        ("no-program-of-this-name", 127, "No such file or directory"),
        (plain, 126, "Permission denied"),
    ):
        done = meter("--json", tmp_path / "result.json", "--", command)
        assert done.returncode == code
        assert done.stderr.decode() == f"error: {command}: cannot be started: {reason}\n"
        assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("option", ["--json", "--trace"])
def test_a_file_that_cannot_be_written_is_refused_before(meter, tmp_path, option):
    started = tmp_path / "started"
    for path, reason in (
        (tmp_path / "none" / "file", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        done = meter(option, path, "--", "touch", started)
        assert done.returncode == 2
        assert done.stderr.decode() == f"error: {path}: cannot be written: {reason}\n"
        assert not started.exists()


def test_a_file_that_cannot_be_written_any_more_costs_the_exit_code(meter, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    done = meter("--json", folder / "file", "--", "rmdir", folder)
    assert done.returncode == 1
    assert "file: cannot be written" in done.stderr.decode()
    assert gpu_energy_j(done.stderr) > 0


def test_bad_options_are_one_line(meter):
    for arguments, reason in (
        (["--country", "XXX", "--", "true"], "--country XXX: no carbon intensity known"),
        (["--intensity", "-1", "--", "true"], "--intensity -1: must be"),
        ([], "Missing argument"),
    ):
        done = meter(*arguments)
        assert done.returncode == 2
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("error: ")
        assert reason in line


def test_a_killed_program_has_its_energy(meter):
    done = meter("--", "sh", "-c", "sleep 0.5; kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL
    assert gpu_energy_j(done.stderr) > 0.5 * POWER_W * 0.8
    assert b"exit code 137" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_is_passed_on_and_the_energy_shown(begin, name):
    number = getattr(signal, name)
    code = f"import signal; signal.signal({number:d}, signal.SIG_DFL); {READY}time.sleep(60)"
    process = begin(*python(code))
    os.kill(process.pid, number)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert gpu_energy_j(shown) > 0


def test_a_signal_to_the_whole_group_is_not_repeated(begin):
    code = f"""
import signal
def count(number, frame):
    print("signal", flush=True)
    time.sleep(0.2)
    raise SystemExit(9)
{READY}
signal.signal(signal.SIGTERM, count)
print("set", flush=True)
time.sleep(60)
"""
    process = begin(*python(code))
    assert process.stdout.readline() == b"set\n"
    os.killpg(process.pid, signal.SIGTERM)
    printed, shown = process.communicate(timeout=60)
    assert process.returncode == 9
    assert printed == b"signal\n"
    assert gpu_energy_j(shown) > 0


def test_nohup_holds(begin):
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    process = begin(*python(f"{READY}time.sleep(1.5); sys.exit(3)"), **ignore)
    os.kill(process.pid, signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 3


def take_terminal():
    hear_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def in_terminal(environment, *arguments, press=None):
    """Run ``greencv meter`` in a terminal; return exit code and screen.

    ``press`` is what is typed once the program has printed ``ready``.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [GREENCV, "meter", *map(str, arguments)],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, start_new_session=True,
        env={**environment, "TERM": "xterm", "LINES": "20"},
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(theirs)
    screen = b""
    with contextlib.suppress(OSError):  # the terminal closes with the last process
        while part := os.read(ours, 65536):
            screen += part
            if press and b"ready" in screen:
                os.write(ours, press)
                press = None
    os.close(ours)
    return process.wait(60), screen


@pytest.fixture
def terminal(environment, monkeypatch):
    real = pty.openpty

    def openpty():
        ours, theirs = real()
        termios.tcsetwinsize(theirs, (20, 100))
        return ours, theirs

    monkeypatch.setattr(pty, "openpty", openpty)
    return lambda *arguments, **options: in_terminal(environment, *arguments, **options)


def test_a_terminal_has_a_live_line_below_the_programs_output(terminal, environment):
    environment |= NO_COUNTERS
    code, screen = terminal("--intensity", "360", *python(f"{READY}time.sleep(2.5)"))
    assert code == 0
    assert b"\x1b[1;19r" in screen  # the program's output scrolls above the last row
    lines = re.findall(rb"\x1b\[20;1H\x1b\[2Kgreencv meter  ([^\x1b]*)\x1b8", screen)
    assert lines
    assert re.fullmatch(rb"[\d.]+ W  [\d.,]+ k?J estimated  [\d.]+ gCO2e  \d s", lines[0])
    after = screen.rpartition(lines[-1])[2]
    assert after.startswith(b"\x1b8\x1b7\x1b[r\x1b[20;1H\x1b[2K\x1b8")


def test_ctrl_c_reaches_the_program_once(terminal):
    code = f"""
import signal
count = 0
def interrupt(number, frame):
    global count
    count += 1
signal.signal(signal.SIGINT, interrupt)
{READY}
end_s = time.monotonic() + 1.5
while time.monotonic() < end_s:
    time.sleep(0.05)
print("interrupts", count)
"""
    returned, screen = terminal(*python(code), press=b"\x03")
    assert b"interrupts 1\r\n" in screen
    assert returned == 0


def test_ctrl_c_ends_the_program_and_the_energy_is_shown(terminal):
    returned, screen = terminal(*python(f"{READY}time.sleep(60)"), press=b"\x03")
    assert returned == 128 + signal.SIGINT
    assert b"KeyboardInterrupt" in screen
    assert b"exit code" in screen
    assert b"Finished runs are kept" not in screen


def test_another_rank_runs_its_program_unmetered(meter, tmp_path):
    result = tmp_path / "result.json"
    done = meter("--json", result, *python("print('rank'); exit(5)"), LOCAL_RANK="1")
    assert done.returncode == 5
    assert done.stdout == b"rank\n"
    (line,) = done.stderr.decode().splitlines()
    assert "LOCAL_RANK=1: local rank 0 of this computer meters it" in line
    assert not result.exists()


def test_the_meter_loads_no_torch():
    code = (
        "import sys\nfrom greencv_core.cli.app import main\n"
        "try:\n    main(['meter', '--', 'true'])\n"
        "except SystemExit as done:\n    print(done.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "0 False\n", done.stderr
