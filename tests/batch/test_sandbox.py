"""Thirty and more ways out of the sandbox, each of which must lead nowhere."""

import os
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ramify.batch import sandbox
from ramify.batch.sandbox import Limits, Outcome, Sandbox, why_not
from ramify.errors import UnsupportedError

if why_not() is not None:
    pytest.skip(f"no sandbox here: {why_not()}", allow_module_level=True)

QUICK = Limits(wall_s=10, memory_bytes=200 * 2**20, tmp_bytes=16 * 2**20, output_bytes=8192)
LIBC = """import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def said(found): print(found, os.strerror(ctypes.get_errno()))
"""


def run(code: str, **more: float) -> Outcome:
    return Sandbox(Limits(**{**QUICK.__dict__, **more})).run(code)


def program(text: str) -> str:
    return textwrap.dedent(text).strip()


def strangers() -> list[int]:
    """Processes that nobody but a sandbox has."""
    found = []
    for each in psutil.process_iter():
        try:
            if "/code/main.py" in each.cmdline() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each.pid)
        except psutil.Error:
            continue
    return found


def nothing_is_left() -> bool:
    deadline = time.monotonic() + 10
    while (left := strangers()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left == []


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of this machine, and nobody may come."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        yield opened.getsockname()[1]


def test_a_program_runs_and_says_what_it_says_in_order() -> None:
    outcome = run("import sys, math, json, re, collections\nprint(math.factorial(5))\nprint('no', file=sys.stderr)\nprint('end')")
    assert (outcome.status, outcome.output) == ("ok", "120\nno\nend")


def test_an_error_is_an_output_too() -> None:
    outcome = run("print(1)\n1 / 0")
    assert outcome.status == "error"
    assert outcome.output.startswith("1\nTraceback")
    assert outcome.output.endswith("ZeroDivisionError: division by zero")


# ---------------------------------------------------------------- the network


def test_this_machines_own_ports_are_out_of_reach(listener: int) -> None:
    outcome = run(f"import socket\nsocket.create_connection(('127.0.0.1', {listener}), 2)")
    assert (outcome.status, "refused" in outcome.output or "unreachable" in outcome.output) == ("error", True)


@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.create_connection(('1.1.1.1', 53), 2)",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('8.8.8.8', 53))",
        "import socket\nsocket.getaddrinfo('example.org', 80)",
        "import urllib.request\nurllib.request.urlopen('http://169.254.169.254/', timeout=2)",
        "import socket\nsocket.create_connection(('::1', 80), 2)",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    ],
)
def test_nothing_is_reached_over_a_network(code: str) -> None:
    assert run(code).status == "error"


def test_there_is_no_interface_but_a_loopback_of_its_own() -> None:
    assert (
        run("import socket\nprint([name for _, name in socket.if_nameindex() if name not in ('lo', 'sit0', 'tunl0')])").output
        == "[]"
    )


def test_a_host_that_listens_by_an_abstract_name_is_not_heard() -> None:
    with socket.socket(socket.AF_UNIX) as host:
        host.bind("\0ramify-escape")
        host.listen()
        outcome = run("import socket\nsocket.socket(socket.AF_UNIX).connect('\\0ramify-escape')")
    assert (outcome.status, "refused" in outcome.output) == ("error", True)


# ---------------------------------------------------------------- the host's files


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/var/log", "/sys", "/run", "/home", "/mnt", "/boot"]
)
def test_the_hosts_folders_are_not_there(path: str) -> None:
    assert run(f"import os\nprint(os.path.lexists({path!r}))").output == "False"


def test_a_file_of_ours_is_neither_read_nor_found(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o666)
    assert run(f"open({str(secret)!r})").output.endswith(f"No such file or directory: '{secret}'")


@pytest.mark.parametrize(
    "path", ["/x", "/usr/x", "/code/main.py", "/code/x", "/dev/x", "/usr/lib/x", "/proc/sys/kernel/hostname"]
)
def test_nothing_is_written_but_in_its_own_tmp(path: str) -> None:
    assert run(f"open({path!r}, 'w').write('x')").status == "error"


def test_what_was_written_is_gone_with_the_run(tmp_path: Path) -> None:
    assert run("open('/tmp/mark', 'w').write('x')\nprint(open('/tmp/mark').read())").output == "x"
    assert run("import os\nprint(os.listdir('/tmp'))").output == "[]"
    assert not Path("/tmp/mark").exists()


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "/proc/1/root/etc/passwd", "/proc/self/root/etc/passwd", "../../../../etc/passwd"]
)
def test_a_link_leads_nowhere(target: str) -> None:
    assert run(f"import os\nos.symlink({target!r}, '/tmp/link')\nopen('/tmp/link').read()").status == "error"


def test_a_hard_link_to_the_program_is_refused() -> None:
    assert run("import os\nos.link('/code/main.py', '/tmp/mine')").status == "error"


@pytest.mark.parametrize(
    "device", ["/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/tty", "/dev/ptmx", "/dev/shm", "/dev/fuse"]
)
def test_there_are_four_devices(device: str) -> None:
    assert run(f"import os\nprint(os.path.exists({device!r}), sorted(os.listdir('/dev')))").output == (
        "False ['null', 'random', 'urandom', 'zero']"
    )


def test_a_device_cannot_be_made() -> None:
    assert run("import os, stat\nos.mknod('/tmp/disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))").status == "error"


# ---------------------------------------------------------------- environment, input, other processes


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    found = run(
        program(
            """
            import os
            print(sorted(os.environ))
            for p in os.listdir('/proc'):
                try: print(open(f'/proc/{p}/environ').read())
                except OSError: pass
            """
        )
    )
    assert "sk-secret" not in found.output
    assert found.output.splitlines()[0] == "['HOME', 'LC_ALL', 'MALLOC_ARENA_MAX', 'PWD']"


def test_there_is_no_input() -> None:
    assert run("print(repr(input()))").output.endswith("EOFError: EOF when reading a line")


def test_no_open_file_of_ours_is_handed_on(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        found = run(
            program(
                """
                import os
                fds = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd') if int(n) > 2]
                print([os.readlink(fd) for fd in fds if os.path.exists(fd)])
                """
            )
        )
    assert "open" not in found.output


def test_other_processes_are_neither_seen_nor_signalled() -> None:
    found = run("import os\nprint(max(int(p) for p in os.listdir('/proc') if p.isdigit()) < 20)")
    assert found.output == "True"
    mine = os.getpid()
    assert run(f"import os\nos.kill({mine}, 9)").output.endswith("[Errno 3] No such process")
    assert run("import os, signal\nos.kill(-1, signal.SIGKILL)").status in ("ok", "error", "killed")


def test_proc_says_nothing_of_the_host_that_could_be_changed() -> None:
    for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj", "/proc/1/mem"):
        value = "-1000" if "oom" in path else "x"
        assert run(f"import os\nos.write(os.open({path!r}, os.O_WRONLY), b{value!r})").status == "error", path


# ---------------------------------------------------------------- the kernel


@pytest.mark.parametrize(
    "call",
    [
        "libc.unshare(0x10000000)",  # a user namespace
        "libc.unshare(0x00020000)",  # a mount namespace
        "libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, b'')",
        "libc.umount2(b'/tmp', 0)",
        "libc.chroot(b'/tmp')",
        "libc.sethostname(b'x', 1)",
        "libc.setuid(0)",
        "libc.ptrace(16, 1, 0, 0)",
        "libc.setns(os.open('/proc/1/ns/net', os.O_RDONLY), 0)",
        "libc.reboot(0)",
    ],
)
def test_the_kernel_gives_it_no_power(call: str) -> None:
    outcome = run(f"{LIBC}said({call})")
    assert outcome.status == "error" or outcome.output.startswith("-1 "), outcome.output


def test_a_program_with_the_setuid_bit_gives_it_none_either() -> None:
    code = program(
        """
        import subprocess
        for name in ('su', 'mount', 'passwd', 'sudo', 'newgrp'):
          try: print(subprocess.run([name, '-c', 'id -u'], capture_output=True, text=True, timeout=3).stdout.strip() == '0')
          except Exception: print(False)
        """
    )
    assert set(run(code).output.splitlines()) == {"False"}


# ---------------------------------------------------------------- limits


def test_a_fork_bomb_is_small_and_soon_over() -> None:
    outcome = run("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", wall_s=2)
    assert (outcome.status, outcome.wall_s < 8) == ("timeout", True)
    assert nothing_is_left()


def test_threads_are_counted_as_processes() -> None:
    outcome = run(
        program(
            """
            import threading, time
            for i in range(99):
                threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
            print('all')
            """
        )
    )
    assert (outcome.status, "can't start new thread" in outcome.output) == ("error", True)


def test_memory_ends_in_one_process_and_in_many() -> None:
    assert run("x = bytearray(2 ** 30)").output.endswith("MemoryError")
    code = program(
        """
        import os, time
        for _ in range(8):
          if os.fork() == 0:
            x = bytearray(os.urandom(1 << 20) * 100); time.sleep(9)
        time.sleep(9)
        """
    )
    assert run(code).status == "memory"
    assert nothing_is_left()


def test_files_are_small_and_few_and_the_disk_is_not_ours() -> None:
    assert "File too large" in run("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 10 ** 6)").output
    code = "for i in range(99):\n  f = open(f'/tmp/{i}', 'wb'); f.write(b'x' * 10 ** 6); f.close()"
    assert "No space left on device" in run(code).output
    assert "Too many open files" in run("fs = [open('/dev/null') for _ in range(999)]").output


def test_memory_that_no_process_owns_ends_too() -> None:
    code = program(
        """
        import os
        fs = []
        while True:
          f = os.memfd_create('x'); fs.append(f)
          for _ in range(15): os.write(f, b'x' * (1 << 20))
        """
    )
    outcome = run(code)
    assert outcome.status in ("memory", "error")
    assert nothing_is_left()


def test_endless_output_is_cut() -> None:
    outcome = run("while True: print('a' * 1000)")
    assert (outcome.status, len(outcome.output) < 8300) == ("output", True)
    assert outcome.output.endswith("\n[stopped: more than 8 KiB of output]")
    assert nothing_is_left()


def test_endless_work_is_ended_whatever_signals_it_ignores() -> None:
    code = program(
        """
        import signal, time
        for n in range(1, 32):
          try: signal.signal(n, signal.SIG_IGN)
          except (OSError, ValueError): pass
        print('here', flush=True)
        while True: time.sleep(1)
        """
    )
    outcome = run(code, wall_s=1.5)
    assert (outcome.status, outcome.output) == ("timeout", "here\n[stopped after 1.5 s]")
    assert nothing_is_left()


def test_a_child_that_outlives_its_parent_does_not_outlive_the_run() -> None:
    code = program(
        """
        import os, time
        if os.fork() == 0:
          os.setsid()
          if os.fork() == 0: time.sleep(60)
          os._exit(0)
        print('parent', flush=True)
        os._exit(0)
        """
    )
    outcome = run(code, wall_s=3)
    assert outcome.output.startswith("parent")
    assert nothing_is_left()


def test_a_closed_output_does_not_let_it_run_on() -> None:
    outcome = run("import os, time\nos.close(1); os.close(2)\ntime.sleep(60)", wall_s=1)
    assert (outcome.status, outcome.wall_s < 5) == ("timeout", True)
    assert nothing_is_left()


def test_runs_beside_each_other_do_not_count_against_each_other() -> None:
    found: list[str] = []
    code = program(
        """
        import threading, time
        ts = [threading.Thread(target=time.sleep, args=(0.5,)) for _ in range(12)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        print('well')
        """
    )
    threads = [threading.Thread(target=lambda: found.append(run(code).output)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["well"] * 3


# ---------------------------------------------------------------- where there is none


def test_without_isolation_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    why_not.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sandbox.shutil, "which", lambda name: None)
            with pytest.raises(UnsupportedError, match="code cannot be run here: bubblewrap is missing; install it"):
                Sandbox()
        with monkeypatch.context() as patch:
            why_not.cache_clear()
            patch.setattr(sandbox, "PROBE", "1 / 0")
            with pytest.raises(UnsupportedError, match="Without a sandbox no code of a model's is run"):
                Sandbox()
    finally:
        why_not.cache_clear()
