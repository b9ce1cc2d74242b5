"""``greencv evidence`` and ``greencv import``, as a user types them."""

import pytest

from tests.conftest import greencv_here

GOOD = (
    "source,architecture,environment,energy_j,provenance,note\n"
    "lab,resnet18,a,12.5,measured,x\nlab,resnet50,a,50,measured,y\n"
)
EMISSIONS = (
    "timestamp,project_name,run_id,duration,emissions,cpu_energy,gpu_energy,ram_energy,"
    "energy_consumed,cpu_model,gpu_count,gpu_model\n"
    "2024-02-09T10:20:00,resnet18,9a31,1000,0.001,0.05,0.2,0.01,0.26,Xeon,2,2 x NVIDIA A100\n"
)


@pytest.mark.parametrize("command", ["evidence check", "import codecarbon", "import nvidia-smi"])
def test_every_command_has_an_example_in_its_help(command):
    done = greencv_here(*command.split(), "--help")
    assert f"Example: greencv {command}" in done.stdout


def test_a_sound_table_is_summarised_with_what_it_lacks(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(GOOD)
    done = greencv_here("evidence", "check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{path}: 2 runs of 2 architectures in 1 environment, energy measured",
        "  without images_processed, gflops_per_image, correctness and duration_s: claims about "
        "these cannot be tested",
        "  ignored columns: note",
    ]


def test_a_table_that_cannot_be_used_ends_with_2_and_says_why(tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("12.5", "-12.5"))
    done = greencv_here("evidence", "check", bad, good, tmp_path / "nosuch.csv")
    assert done.returncode == 2
    assert done.stdout.startswith(f"{good}: 2 runs")
    assert done.stderr.splitlines() == [
        f"error: {bad}, row 2: energy_j must be above zero (a run takes energy): '-12.5'",
        f"error: {tmp_path / 'nosuch.csv'}: cannot be read: No such file or directory",
    ]


def test_what_is_imported_passes_the_check(tmp_path):
    path, table = tmp_path / "emissions.csv", tmp_path / "runs.csv"
    path.write_text(EMISSIONS)
    options = ("--architecture", "{project_name}", "--environment", "lab", "--images", 60000)
    written = greencv_here("import", "codecarbon", path, *options, "--output", table)
    assert (written.returncode, written.stdout) == (0, f"{table}: 1 run\n")
    assert greencv_here("evidence", "check", table).returncode == 0
    printed = greencv_here("import", "codecarbon", path, *options)
    assert printed.stdout == table.read_text()
    assert ",60000," in printed.stdout


def test_nothing_is_written_where_a_file_is_refused(tmp_path):
    path, table = tmp_path / "run.csv", tmp_path / "runs.csv"
    path.write_text("timestamp, power.draw [W]\n2024/01/01 00:00:01, 5 W\n2024/01/01 00:00:00, 5")
    options = ("--architecture", "a", "--environment", "b", "--output", table)
    done = greencv_here("import", "nvidia-smi", path, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}, line 2: 1 reading of the GPU")
    assert not table.exists()
    assert greencv_here("import", "codecarbon", path).returncode == 2
