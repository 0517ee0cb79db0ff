"""`--workers N`: one command as several processes, with small programs in transferkit's place."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from transferkit.cli import workers
from transferkit.cli.workers import run_workers, without_workers
from transferkit.train.cluster import find_cluster, split_address

HEAD = """
import os, signal, sys, time
index = int(os.environ["TRANSFERKIT_PROCESS"])
"""


def program(body):
    return (sys.executable, "-c", HEAD + textwrap.dedent(body))


def test_every_process_gets_the_arguments_and_its_place(tmp_path):
    body = """
        import json, pathlib
        seen = {"arguments": sys.argv[1:], "environ": dict(os.environ)}
        pathlib.Path(sys.argv[1], str(index)).write_text(json.dumps(seen))
        """

    code = run_workers(3, [str(tmp_path), "--workers", "3", "--resume"], command=program(body))

    seen = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    clusters = [find_cluster(one["environ"], strategy="multi_worker", backend="tensorflow") for one in seen]
    assert code == 0
    assert all(one["arguments"] == [str(tmp_path), "--resume"] for one in seen)
    assert [cluster.index for cluster in clusters] == [0, 1, 2]
    assert len({cluster.addresses for cluster in clusters}) == 1
    assert {split_address(address)[0] for address in clusters[0].addresses} == {"127.0.0.1"}


def test_processes_share_the_cores_unless_the_user_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    body = """
        import pathlib
        text = os.environ["TF_NUM_INTRAOP_THREADS"] + " " + os.environ["OMP_NUM_THREADS"]
        pathlib.Path(sys.argv[1], str(index)).write_text(text)
        """

    run_workers(2, [str(tmp_path)], command=program(body))

    assert [(tmp_path / str(index)).read_text() for index in (0, 1)] == ["6 7", "6 7"]


def test_announcement_from_outside_does_not_reach_the_processes(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}')

    assert run_workers(2, [], command=program("sys.exit(3 if os.environ.get('TF_CONFIG') else 0)")) == 0


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["finetune", "a.yaml", "--workers", "2", "--resume"], ["finetune", "a.yaml", "--resume"]),
        (["finetune", "--workers=2", "a.yaml"], ["finetune", "a.yaml"]),
        (["finetune", "a.yaml", "--set", "name=--workers"], ["finetune", "a.yaml", "--set", "name=--workers"]),
    ],
)
def test_workers_option_is_not_handed_down(argv, kept):
    assert without_workers(argv) == kept


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("pass", 0),
        ("sys.exit(2 if index == 1 else 75)", 2),
        ("time.sleep(0.4 * index); sys.exit([75, 2, 1][index])", 2),
        ("sys.exit(75 if index == 1 else 0)", 75),
        ("os.kill(os.getpid(), signal.SIGKILL) if index == 1 else sys.exit(75)", 137),
    ],
    ids=["all well", "a mistake and who missed it", "the first of two", "a peer missing", "killed"],
)
def test_exit_code_is_the_one_that_matters(body, code):
    assert run_workers(3, [], command=program(body)) == code


def test_others_are_ended_when_one_dies_and_they_do_not_notice(monkeypatch):
    monkeypatch.setattr(workers, "_GRACE_S", 0.5)
    monkeypatch.setattr(workers, "_TERM_S", 0.5)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    start_s = time.monotonic()

    code = run_workers(3, [], command=program(f"{deaf}\nif index == 1: sys.exit(4)\ntime.sleep(60)"))

    assert code == 4
    assert time.monotonic() - start_s < 6


def test_only_the_chief_prints_where_all_is_well(capfd):
    run_workers(3, [], command=program("print('from', index); print('error of', index, file=sys.stderr)"))

    assert capfd.readouterr() == ("from 0\n", "error of 0\n")


def test_what_a_failed_process_printed_is_shown_with_its_number(capfd):
    body = "print('from', index, flush=True); print('sorry', file=sys.stderr); sys.exit([75, 2, 75][index])"

    run_workers(3, [], command=program(body))

    output, errors = capfd.readouterr()
    assert output == "from 0\n"
    assert [line for line in errors.splitlines() if line.startswith("[")] == [
        "[process 1] from 1",
        "[process 1] sorry",
        "[process 1] ended with code 2",
    ]


def test_who_missed_a_peer_is_shown_where_nobody_says_more(capfd):
    run_workers(2, [], command=program("print('process 0 died'); sys.exit(75 * index)"))

    assert "[process 1] process 0 died" in capfd.readouterr().err


def test_chief_prints_while_it_runs():
    launcher = start_launcher("print('epoch 1', flush=True); time.sleep(0.6); print('end')")

    first, at_s = launcher.stdout.readline(), time.monotonic()
    launcher.communicate(timeout=10)

    assert first == "epoch 1\n"
    assert time.monotonic() - at_s > 0.3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_reaches_every_process_once_and_each_may_end_in_its_time(number, code, tmp_path):
    body = f"""
        import pathlib
        count = []
        signal.signal({int(number)}, lambda *_: count.append(1))
        pathlib.Path({str(tmp_path)!r}, f"ready{{index}}").touch()
        while not count: time.sleep(0.02)
        time.sleep(0.3)
        pathlib.Path({str(tmp_path)!r}, f"count{{index}}").write_text(str(len(count)))
        sys.exit({code})
        """
    launcher = start_launcher(textwrap.dedent(body))
    end_s = time.monotonic() + 10
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert time.monotonic() < end_s
        time.sleep(0.02)

    # As the terminal does it: to the whole group of the launcher.
    os.killpg(launcher.pid, number)
    launcher.communicate(timeout=10)

    assert launcher.returncode == code
    assert [(tmp_path / f"count{index}").read_text() for index in (0, 1)] == ["1", "1"]


def test_process_that_cannot_be_started_leaves_nobody_behind():
    with pytest.raises(FileNotFoundError):
        run_workers(2, [], command=("/no/such/program",))


def test_handlers_of_signals_are_put_back():
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]

    run_workers(2, [], command=program("pass"))

    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def start_launcher(body):
    """The launcher in a process group of its own, with interrupts that are not ignored."""
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from transferkit.cli.workers import run_workers
sys.exit(run_workers(2, [], command={program(body)!r}))
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
