"""Line files: whole lines or none, whatever stops the writing."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import pytest

from mipro import lines
from mipro.errors import ConfigError
from mipro.lines import LineFile, WriteError, read_lines, written


def opened(path, *objects):
    file = LineFile(path)
    file.append(objects)
    return file


@pytest.mark.parametrize("written", [0, 1, 7])
def test_a_full_disk_is_said_and_leaves_the_lines_before_it(tmp_path, monkeypatch, written):
    file, real = opened(tmp_path / "f", {"a": 1}, {"a": 2}), os.write

    def full(number, data):
        if written and len(data) > written:
            return real(number, data[:written])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(WriteError, match=r"f: cannot be written: No space left.*is whole"):
            file.append([{"a": 3, "text": "long"}])
    assert (tmp_path / "f").read_bytes() == b'{"a":1}\n{"a":2}\n'
    file.append([{"a": 4}])
    file.close()
    assert [line["a"] for line in read_lines(tmp_path / "f").objects] == [1, 2, 4]


def refused(file, number):
    try:
        file.append([{"number": number}])
    except WriteError as error:
        return error
    return None


def test_a_limit_on_the_files_size_is_met_in_the_same_way(tmp_path):
    path, before = tmp_path / "f", resource.getrlimit(resource.RLIMIT_FSIZE)
    file = LineFile(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        error = next(filter(None, (refused(file, i) for i in range(100))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in str(error)
    whole = read_lines(path)
    assert path.stat().st_size == whole.ends[-1] > 900
    assert [line["number"] for line in whole.objects] == list(range(len(whole.objects)))


def test_a_sync_that_fails_takes_its_line_back(tmp_path, monkeypatch):
    file = opened(tmp_path / "f", {"a": 1})

    def fail(number):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(WriteError, match="Input/output error"):
            file.append([{"a": 2}])
    file.close()
    assert read_lines(tmp_path / "f").objects == [{"a": 1}]


def test_an_interruption_leaves_a_line_whole_or_not_at_all(tmp_path, monkeypatch):
    file, real = opened(tmp_path / "f", {"a": 1}), os.write

    def half(number, data):
        if len(data) < 4:
            raise KeyboardInterrupt
        return real(number, data[: len(data) - 3])

    def late(number):
        raise KeyboardInterrupt

    for name, function in (("write", half), ("fsync", late)):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, function)
            with pytest.raises(KeyboardInterrupt):
                file.append([{"a": name}])
    file.close()
    assert read_lines(tmp_path / "f").objects == [{"a": 1}, {"a": "fsync"}]


def test_the_lock_goes_with_the_process_that_took_it(tmp_path):
    code = (
        "import os, sys, time\nfrom mipro.lines import LineFile\n"
        "file = LineFile(sys.argv[1])\n"
        "begun, begin = os.pipe()\n"
        "child = os.fork()\n"  # a worker that outlives it must not hold on to the directory
        "if child == 0:\n"
        "    os.close(0); os.close(1); os.write(begin, b'.'); time.sleep(3); os._exit(0)\n"
        "os.read(begun, 1)\n"  # once it runs, that is: until then it is the parent's twin
        "print('locked', flush=True)\nsys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "f")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match="in use by another run"):
            LineFile(tmp_path / "f")
        process.kill()
        process.wait()
        LineFile(tmp_path / "f").close()
    finally:
        process.kill()
        process.communicate()


def test_where_the_system_has_no_locks_a_second_file_does(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "fcntl", None)
    file = LineFile(tmp_path / "f")
    with pytest.raises(
        ConfigError, match=rf"in use.*if no process {os.getpid()} .*delete .*f\.lock"
    ):
        LineFile(tmp_path / "f")
    file.close()
    file.close()
    assert not (tmp_path / "f.lock").exists()
    LineFile(tmp_path / "f").close()


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    written(path, "first")

    def fail(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError, match=r"config\.json: cannot be written: No space left"):
        written(path, "second")
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]
    assert path.read_text() == "first"
