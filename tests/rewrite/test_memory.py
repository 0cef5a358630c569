"""What clamp keeps in memory follows the largest tensor, not the model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import specaudit
from specaudit.errors import OutputError
from specaudit.rewrite import overlay
from tests.formats.test_saving_faults import files_of_at_most

SHARDS, EACH, ROWS, COLUMNS = 8, 5, 512, 4096  # 320 MiB in 40 tensors, all of them to be changed
MEASURED = """
import sys
from specaudit.cli import run
code = run(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, int(peak.split()[1]) * 1024, file=sys.stderr)
"""


def shards(folder: Path) -> Path:
    folder.mkdir()
    values = np.random.default_rng(0).standard_normal((EACH, ROWS, COLUMNS), dtype=np.float32)
    places = {}
    for shard in range(SHARDS):
        names = [f"layers.{shard}.w{part}.weight" for part in range(EACH)]
        file = f"model-{shard}.safetensors"
        save_file(dict(zip(names, values, strict=True)), folder / file)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("limit", [("--max", "1"), ("--max-lipschitz", "1")])
def test_a_set_of_shards_is_not_kept_in_memory(limit: tuple[str, str], tmp_path: Path) -> None:
    source, out = shards(tmp_path / "in"), tmp_path / "out"
    command = [sys.executable, "-c", MEASURED, "clamp", str(source), *limit, "-o", str(out), "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    code, peak = map(int, done.stderr.split()[-2:])
    assert code == 0
    tensor, total = 4 * ROWS * COLUMNS, 4 * ROWS * COLUMNS * EACH * SHARDS
    budget = 2.5 * 2 * tensor + 250e6  # that of `inspect`: of the largest tensor in float64
    assert budget < total  # or this could not fail
    assert peak <= budget
    assert sum(path.stat().st_size for path in out.glob("*.safetensors")) >= total


def test_new_values_that_no_disk_holds_are_an_error_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).standard_normal((200, 200), dtype=np.float32)
    save_file({"a.weight": values}, tmp_path / "in.safetensors")
    monkeypatch.setattr(overlay, "_IN_MEMORY", 1 << 10)
    with files_of_at_most(50_000), pytest.raises(OutputError, match="no room") as caught:
        specaudit.clamp(
            tmp_path / "in.safetensors", max=1.0, mode="project", out=tmp_path / "out.safetensors"
        )
    assert caught.value.where == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]
