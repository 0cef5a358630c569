"""Fuzzing guided by coverage: ``python -m tests.fuzz.coverage_guided SEED [options]``.

SEED is a name of `tests.fuzz.seeds`; what is fuzzed is the part that it damages, inside a file
that is otherwise sound. The options are libFuzzer's (``-runs=100000``, ``-max_total_time=60``).
Needs atheris (``pip install atheris``), which nothing else here does.
"""

import os
import sys
import tempfile
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Fuzz one reader until an option or a failure ends it."""
    import atheris

    with atheris.instrument_imports(include=["specaudit"]):
        import specaudit.formats.exported
        import specaudit.formats.onnx
        import specaudit.formats.pytorch
        import specaudit.formats.safetensors  # noqa: F401
        from specaudit import formats
        from specaudit.errors import SpecauditError
    from tests.fuzz.fuzzing import LAST_NET
    from tests.fuzz.seeds import SEEDS, beside

    names = {seed.name: seed for seed in SEEDS}
    if not arguments or arguments[0] not in names:
        sys.exit(f"name one of {', '.join(names)}")
    seed = names[arguments[0]]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        corpus.joinpath("sound").write_bytes(seed.part)
        beside(Path(folder))
        path = os.path.join(folder, seed.file_name)

        def read(part: bytes) -> None:
            Path(path).write_bytes(seed.whole(part))
            try:
                for weight in formats.load(path).weights:
                    weight.read()
            except SpecauditError as problem:
                if problem.message.startswith(LAST_NET):
                    raise  # an exception that nobody foresaw is a finding here

        limits = ["-rss_limit_mb=1024", "-timeout=10", "-max_len=65536"]
        atheris.Setup([sys.argv[0], *limits, *arguments[1:], str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
