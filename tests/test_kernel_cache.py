"""CPU kernels are compiled once per machine and version, by one process, or in memory where no folder is writable."""

import ast
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from numba import njit

import gpuaug
from gpuaug.backends.fused import cpu
from gpuaug.backends.fused.cpu import cache, compilation
from gpuaug.backends.fused.cpu.cache import VERSIONS_KEPT, cache_of, cached, delete_old, find_folder, version

REPOSITORY = Path(gpuaug.__file__).parents[1]
FUSED = Path(cpu.__file__).parents[1]


def double(x):
    return 2 * x


def made(place):
    """A function cached in a folder, as a new process sees it."""
    return cached(njit(double), [place])


def compiled(dispatcher):
    """How often a function was compiled instead of read from disk."""
    return sum(dispatcher.stats.cache_misses.values())


def begin(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_function_is_compiled_once_and_then_read(tmp_path):
    first, second = made(tmp_path), made(tmp_path)
    assert (first(3), second(3)) == (6, 6)
    assert (compiled(first), compiled(second)) == (1, 0)


def test_every_source_of_the_kernels_names_the_folder(tmp_path):
    """Constants of instructions.py and JPEG's tables are part of the machine code, plan.py and Triton's kernels are not."""
    shutil.copytree(REPOSITORY / "gpuaug", tmp_path / "gpuaug", ignore=shutil.ignore_patterns("__pycache__"))
    code = """
        from pathlib import Path
        from gpuaug.backends.fused.cpu import cache
        fused = Path(cache.__file__).parents[1]
        print(cache.version())
        ops = fused.parents[1] / "ops"
        for file in sorted([*fused.rglob("*.py"), ops / "jpeg.py", ops / "color.py"]):
            before = cache.version()
            with file.open("a") as opened:
                opened.write("# edited")
            print(file.relative_to(ops if file.parent == ops else fused).as_posix(), cache.version() != before)
    """
    script = tmp_path / "script.py"  # Python searches this script's folder first
    script.write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    unedited, *lines = done.stdout.splitlines()
    assert unedited == version()
    changes = {name: changed == "True" for name, changed in map(str.split, lines)}
    assert {name for name, changed in changes.items() if changed} == {
        name for name in changes if name in ("instructions.py", "jpeg.py") or name.startswith("cpu/")
    }
    assert {
        "instructions.py",
        "jpeg.py",
        "color.py",
        "cpu/jit.py",
        "cpu/kernels/views.py",
        "cpu/simd/float32.py",
        "cuda/kernels/tiles.py",
    } <= set(changes)


def test_every_file_whose_functions_are_kept_names_the_folder():
    contents = {content for _, content in cache.sources()}
    kept = [file for file in (REPOSITORY / "gpuaug").rglob("*.py") if "\n@cached\n" in file.read_text(encoding="utf-8")]
    assert {"jpeg_scan.py", "views.py"} <= {file.name for file in kept}
    assert not [file for file in kept if file.read_bytes() not in contents]


def test_the_kernels_import_nothing_else():
    """The folder's name depends on everything that the kernels depend on."""
    folder = FUSED / "cpu"
    others = FUSED / "instructions", REPOSITORY / "gpuaug" / "ops" / "jpeg"
    for file in [*folder.rglob("kernels/**/*.py"), *folder.glob("simd/*.py"), folder / "pack.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = file.parents[node.level - 1]
                target = base.joinpath(*(node.module or "").split("."))
                assert target.is_relative_to(folder) or target in others, (file, node.module)


def test_kernels_of_other_sources_are_not_read(tmp_path, monkeypatch):
    first = made(tmp_path)
    first(3)
    monkeypatch.setattr(cache, "version", lambda: "other")
    second = made(tmp_path)
    second(3)
    assert compiled(second) == 1


COMPILES = """
    import sys
    from pathlib import Path
    from numba import njit
    from gpuaug.backends.fused.cpu.cache import cache_of, cached

    def function(x):
        total = 0.0
        for k in range(x):
            for n in range(x):
                total += (k * n) ** 0.5 - k / (n + 1)
        return total

    made = cached(njit(function), [Path(sys.argv[1])])
    print("ready", flush=True)
    sys.stdin.readline()
    made(7)
    print(sum(made.stats.cache_misses.values()))
"""


def test_of_processes_that_begin_together_one_compiles(tmp_path):
    processes = [begin(COMPILES, tmp_path) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = [process.communicate()[0] for process in processes]
    assert sorted(counts) == ["0\n", "0\n", "1\n"]
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_a_process_waits_for_one_that_compiles_and_takes_over_when_it_dies(tmp_path):
    """It takes over even if a fork of the dead process lives on with its open files."""
    holder = begin(
        """
        import os, sys, time
        from pathlib import Path
        from numba import njit
        from gpuaug.backends.fused.cpu.cache import cache_of, cached
        made = cached(njit(lambda x: x), [Path(sys.argv[1])])
        cache_of(made).acquire()
        child = os.fork()
        if child:
            print(child, flush=True)
        time.sleep(600)
        """,
        tmp_path,
    )
    orphan = int(holder.stdout.readline())
    try:
        dispatcher = made(tmp_path)
        with (cache_of(dispatcher).path / "lock").open("ab") as lock:
            assert not cache.try_lock(lock)
        waiting = begin(COMPILES, tmp_path)
        assert waiting.stdout.readline() == "ready\n"
        waiting.stdin.write("go\n")
        waiting.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=2)
        holder.kill()
        assert waiting.communicate()[0] == "1\n"
    finally:
        os.kill(orphan, signal.SIGKILL)
        holder.communicate()


def test_a_process_that_waits_too_long_compiles_itself(tmp_path, monkeypatch):
    holder = begin(
        """
        import sys, time
        from pathlib import Path
        from numba import njit
        from gpuaug.backends.fused.cpu.cache import cache_of, cached
        cache_of(cached(njit(lambda x: x), [Path(sys.argv[1])])).acquire()
        print("held", flush=True)
        sys.stdin.readline()
        """,
        tmp_path,
    )
    assert holder.stdout.readline() == "held\n"
    monkeypatch.setattr(cache, "LOCK_TIMEOUT", 0.2)
    dispatcher = made(tmp_path)
    assert dispatcher(3) == 6
    assert compiled(dispatcher) == 1
    holder.communicate("go\n")


def test_without_locks_all_compile(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "fcntl", None)
    dispatcher = made(tmp_path)
    assert dispatcher(3) == 6
    assert compiled(made(tmp_path)) == 0


def test_a_failed_compilation_lets_the_others_try(tmp_path):
    failing = cached(njit(lambda x: x.no_such_attribute), [tmp_path])
    store = cache_of(failing)
    with pytest.raises(Exception, match="no_such_attribute"):
        failing(1)
    assert store.lock is not None
    store.release()
    assert store.lock is None


def test_where_nothing_can_be_written_a_function_is_compiled_in_memory(tmp_path):
    file = tmp_path / "file"
    file.touch()
    dispatcher = cached(njit(double), [file, file / "below"])
    assert cache_of(dispatcher) is None
    assert dispatcher(3) == 6


def test_and_the_log_says_so_once(monkeypatch, caplog):
    cpu.warm_up()
    monkeypatch.setattr(compilation, "cache_of", lambda dispatcher: None)
    monkeypatch.setattr(compilation.MAKE_VIEWS, "done", threading.Event())
    compilation.warn_of_no_folder.cache_clear()
    with caplog.at_level(logging.WARNING, "gpuaug"):
        for _ in range(3):
            compilation.MAKE_VIEWS.done.clear()
            with compilation.MAKE_VIEWS.watched():
                pass
    (record,) = caplog.records
    assert "NUMBA_CACHE_DIR" in record.getMessage()
    assert "__pycache__" in record.getMessage()


def test_the_next_place_is_taken_where_one_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert find_folder("fused-1", [file, tmp_path / "second"]) == (tmp_path / "second" / "fused-1", True)
    assert find_folder("fused-1", [file]) == (None, False)


def test_kernels_that_somebody_else_has_made_are_read_where_they_lie(tmp_path, monkeypatch):
    """A read-only install may contain compiled kernels."""
    made(tmp_path)(3)
    monkeypatch.setattr(cache.os, "access", lambda path, mode: False)
    dispatcher = cached(njit(double), [tmp_path, tmp_path / "other"])
    assert not cache_of(dispatcher).writable
    assert dispatcher(3) == 6
    assert compiled(dispatcher) == 0
    assert dispatcher(3.0) == 6  # another type: compiled, but not stored
    assert compiled(made(tmp_path)) == 0


def test_the_processor_names_the_folder(monkeypatch):
    """Machines with different processors may share a home directory."""
    here = version()
    monkeypatch.setattr(cache.CONFIG, "CPU_NAME", "nocona")
    assert version() != here


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_damaged_files_are_made_anew(tmp_path, content, pattern):
    first = made(tmp_path)
    first(3)
    for file in cache_of(first).path.glob(pattern):
        file.write_bytes(content)
    second, third = made(tmp_path), made(tmp_path)
    assert (second(3), third(3)) == (6, 6)
    assert (compiled(second), compiled(third)) == (1, 0)


def test_a_full_disk_costs_the_cache_and_not_the_program(tmp_path, caplog):
    dispatcher = made(tmp_path)
    shutil.rmtree(cache_of(dispatcher).path)
    cache_of(dispatcher).path.touch()  # a file where the folder was: nothing can be written
    with caplog.at_level(logging.WARNING, "gpuaug"):
        assert dispatcher(3) == 6
    assert "cannot be kept" in caplog.text


def test_the_latest_versions_stay(tmp_path):
    folders = [tmp_path / f"fused-{k}" for k in range(VERSIONS_KEPT + 3)]
    for age, folder in enumerate(folders):
        folder.mkdir()
        os.utime(folder, (1000 - age, 1000 - age))
    (tmp_path / "another").mkdir()
    delete_old(folders[-1])
    assert sorted(tmp_path.iterdir()) == sorted([*folders[: VERSIONS_KEPT - 1], folders[-1], tmp_path / "another"])
