"""What others run and read the project by: workflows, containers, Binder, launch links."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from greencv_core.report.book.links import launch_links, repository_url
from greencv_core.utils.paths import git_commit
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = ROOT / "requirements.lock"
COMMIT = "0123456789ab"
NOTEBOOK = "rq1_architecture.ipynb"


def workflow(path):
    # YAML takes the key "on" for a truth value.
    read = yaml.safe_load(path.read_text())
    return {("on" if key is True else key): value for key, value in read.items()}


def steps():
    return [
        (path.stem, step)
        for path in WORKFLOWS
        for job in workflow(path)["jobs"].values()
        for step in job["steps"]
    ]


def commands():
    return [(name, line) for name, step in steps() for line in step.get("run", "").splitlines()]


def make_targets():
    text = (ROOT / "Makefile").read_text().replace("$(READY)", ".venv/.ready")
    return set(re.findall(r"^([\w./-]+):", text, re.MULTILINE))


def test_there_is_a_workflow_to_test_and_one_to_publish():
    assert [path.stem for path in WORKFLOWS] == ["publish", "test"]


@pytest.mark.parametrize(("name", "line"), commands())
def test_what_a_workflow_runs_is_there(name, line):
    program, *arguments = shlex.split(line)
    if program == "make":
        target, *settings = arguments
        assert target in make_targets()
        runs = [s.removeprefix("RUNS=") for s in settings if s.startswith("RUNS=")]
        assert all((ROOT / path).is_file() for path in runs)
    elif program == "cp":
        # The first is made by the step before.
        assert arguments == ["_build/greencv.pdf", "_build/html/"]
    else:
        assert os.access(ROOT / program, os.X_OK), line


def test_files_that_a_workflow_hashes_are_there():
    hashed = [
        path
        for _, step in steps()
        for path in re.findall(r"hashFiles\('([^']+)'\)", str(step.get("with", {}).get("key", "")))
    ]
    assert set(hashed) == {"requirements.lock", "greencv_core/published/*.sha256"}
    assert all(list(ROOT.glob(path)) for path in hashed)


def test_published_measurements_are_cached_where_they_are_downloaded_to():
    import pooch

    home, place = Path.home(), Path(pooch.os_cache("greencv"))
    if sys.platform != "linux" or "XDG_CACHE_HOME" in os.environ:
        pytest.skip("the workflows' runners are Linux, with the usual cache")
    cached = {step["with"]["path"] for _, step in steps() if "cache@" in step.get("uses", "")}
    assert f"~/{place.relative_to(home)}" in cached


def test_workflows_may_read_alone_but_for_the_deployment():
    for path in WORKFLOWS:
        read = workflow(path)
        assert read["permissions"] == {"contents": "read"}
        assert read["concurrency"]
        for name, job in read["jobs"].items():
            granted = {"pages": "write", "id-token": "write"} if name == "deploy" else None
            assert job.get("permissions") == granted
            assert job["timeout-minutes"]
            for step in job["steps"]:
                assert step.get("uses", "actions/").startswith("actions/")  # nobody else's


def test_the_tests_run_on_the_oldest_python_and_on_a_newer_one():
    test = workflow(ROOT / ".github" / "workflows" / "test.yml")
    oldest, *newer = test["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={oldest}" == PROJECT["requires-python"]
    assert all(Version(python) > Version(oldest) for python in newer)
    assert set(test["on"]) >= {"push", "pull_request"}


def test_the_report_is_published_from_the_main_branch_and_by_hand():
    publish = workflow(ROOT / ".github" / "workflows" / "publish.yml")
    assert publish["on"]["push"] == {"branches": ["main"]}
    assert "workflow_dispatch" in publish["on"]
    assert publish["jobs"]["deploy"]["needs"] == "build"


def test_the_container_sets_up_what_make_does():
    program, target = shlex.split(DEVCONTAINER["postCreateCommand"])
    assert program == "make"
    assert target in make_targets()
    settings = DEVCONTAINER["customizations"]["vscode"]["settings"]
    interpreter = settings["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"
    assert "ms-toolsai.jupyter" in DEVCONTAINER["customizations"]["vscode"]["extensions"]
    python = re.search(r"python:(\d+\.\d+)", DEVCONTAINER["image"])
    assert Version(python[1]) >= Version(PROJECT["requires-python"].removeprefix(">="))


def test_binder_installs_the_lock_but_for_torch_and_cuda(tmp_path):
    stand_in = tmp_path / "python"
    stand_in.write_text(
        '#!/bin/sh\nfor word; do last=$word; done\n[ "$last" = . ] || cp "$last" "$TMPDIR/taken"\n'
    )
    stand_in.chmod(0o755)
    subprocess.run(
        [ROOT / ".binder" / "postBuild"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
    )
    every, taken = (
        dict(re.findall(r"^([\w.-]+)(==(?:.*\\\n)+.*)$", path.read_text(), re.MULTILINE))
        for path in (LOCK, tmp_path / "taken")
    )
    left_out = set(every) - set(taken)
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-toolkit"} <= left_out
    assert all(re.match("torch(vision)?$|triton$|cuda-|nvidia-", name) for name in left_out)
    assert {"nvidia-ml-py", "torchmetrics", "numpy", "jupyterlab", "setuptools"} <= set(taken)
    assert all(every[name] == pins for name, pins in taken.items())  # the hashes, too


def test_binders_torch_is_one_that_the_project_takes():
    conda = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())
    told = {Requirement(d).name: Requirement(d) for d in conda["dependencies"] if ">=" in d}
    wanted = {Requirement(d).name: Requirement(d) for d in PROJECT["dependencies"]}
    assert told["pytorch-cpu"].specifier == wanted["torch"].specifier
    assert told["torchvision"].specifier == wanted["torchvision"].specifier


def checkout(folder, origin=None):
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    if origin:
        subprocess.run(["git", "-C", folder, "remote", "add", "origin", origin], check=True)
    return folder


@pytest.fixture
def no_runner(monkeypatch):
    for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_runner")
@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://github.com/owner/name", "https://github.com/owner/name"),
        ("https://github.com/owner/name.git", "https://github.com/owner/name"),
        ("https://user:secret@github.com/owner/name.git", "https://github.com/owner/name"),
        ("git@github.com:owner/name.git", "https://github.com/owner/name"),
        ("ssh://git@github.com:22/owner/name.git", "https://github.com/owner/name"),
        ("https://gitlab.com/group/part/name.git", "https://gitlab.com/group/part/name"),
        ("https://github.com/owner/name/extra", None),
        ("https://github.com.example/owner/name", None),
        ("https://github.com@example.org/owner/name", None),
        ("https://example.org/github.com/owner/name", None),
        ("https://github.com/owner/../name", None),
        ("https://github.com/owner/na<me", None),
        ("javascript://github.com/owner/name", None),
        ("/srv/git/name.git", None),
        (None, None),
    ],
)
def test_the_public_address_is_the_origins_and_holds_no_credentials(tmp_path, origin, url):
    assert repository_url(checkout(tmp_path, origin)) == url


@pytest.mark.usefixtures("no_runner")
def test_a_repository_around_the_project_is_not_the_projects(tmp_path):
    inside = checkout(tmp_path, "https://github.com/owner/name") / "project"
    (inside / ".git").mkdir(parents=True)  # not a valid one
    assert repository_url(inside) is None
    assert git_commit(inside) == "unknown"


def test_git_reads_the_project_whatever_the_users_variables_say(tmp_path, monkeypatch):
    own = checkout(tmp_path / "own", "https://github.com/owner/name")
    other = checkout(tmp_path / "other", "https://github.com/other/project")
    for folder in (own, other):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        message = f"first of {folder.name}"
        commit = ["commit", "--quiet", "--allow-empty", "--no-gpg-sign", "-m", message]
        subprocess.run(["git", "-C", folder, *author, *commit], check=True)
    commit = git_commit(own)
    assert commit != git_commit(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "nothing"))
    assert git_commit(own) == commit
    assert repository_url(own) == "https://github.com/owner/name"


def test_a_runner_tells_the_address_where_the_checkout_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    assert repository_url(tmp_path) == "https://github.com/owner/name"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example.org")
    assert repository_url(tmp_path) is None


def test_links_launch_and_show_the_notebook_of_the_commit():
    assert launch_links("https://github.com/owner/name", COMMIT, NOTEBOOK) == {
        "Binder": f"https://mybinder.org/v2/gh/owner/name/{COMMIT}"
        "?labpath=notebooks%2Frq1_architecture.ipynb",
        "Codespaces": "https://codespaces.new/owner/name",
        "Source": f"https://github.com/owner/name/blob/{COMMIT}/notebooks/{NOTEBOOK}",
    }
    assert launch_links("https://gitlab.com/group/part/name", COMMIT, NOTEBOOK) == {
        "Binder": f"https://mybinder.org/v2/gl/group%2Fpart%2Fname/{COMMIT}"
        "?labpath=notebooks%2Frq1_architecture.ipynb",
        "Source": f"https://gitlab.com/group/part/name/-/blob/{COMMIT}/notebooks/{NOTEBOOK}",
    }


@pytest.mark.parametrize("commit", [f"{COMMIT}+changes", "unknown"])
def test_links_lead_to_the_newest_commit_where_the_reports_is_nobodys(commit):
    links = launch_links("https://github.com/owner/name", commit, NOTEBOOK)
    assert links["Source"] == f"https://github.com/owner/name/blob/HEAD/notebooks/{NOTEBOOK}"
    assert "/owner/name/HEAD?" in links["Binder"]


def test_without_a_public_address_there_is_no_link():
    assert launch_links(None, COMMIT, NOTEBOOK) == {}
