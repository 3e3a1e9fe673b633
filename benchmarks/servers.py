"""Servers as processes of their own, so that who measures and who answers share no interpreter."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

import ramify

__all__ = ["KEY", "TINY", "Peer", "llama_serve", "ramify_serve", "transformers_serve"]

TINY = Path(ramify.__file__).parent / "models/embedded/tiny"
KEY = "a-key-for-benchmarks"
STARTS_S = 180


@dataclass(frozen=True)
class Peer:
    """A server that listens."""

    name: str
    url: str
    model: str
    """What requests call the model."""
    pid: int

    def client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        headers = {"authorization": f"Bearer {KEY}"}
        # verify: nothing here is TLS, and reading the certificates takes long.
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=600, limits=limits, verify=False)

    def cpu_s(self) -> float:
        """What the server has had of the processors."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def memory_bytes(self) -> int:
        """Resident memory of the server now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} has no resident memory")


@contextlib.contextmanager
def ramify_serve(*arguments: str) -> Iterator[Peer]:
    """`ramify serve` on `tiny`, float32 on the CPU."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"RAMIFY_API_KEY": KEY, "RAMIFY_HOME": home, "RAMIFY_DEVICE": "cpu", "RAMIFY_PRECISION": "float32"}
        port = _free_port()
        command = [sys.executable, "-m", "ramify", "serve", "--port", str(port), *arguments]
        with _running("ramify", command, environment, port, "tiny") as peer:
            yield peer


@contextlib.contextmanager
def transformers_serve(*arguments: str) -> Iterator[Peer]:
    """transformers' own server on the same files, float32 on the CPU."""
    port = _free_port()
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(TINY), "--device", "cpu", "--dtype", "float32"]
    command += ["--port", str(port), "--host", "127.0.0.1", "--log-level", "error", *arguments]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with _running("transformers", command, environment, port, str(TINY)) as peer:
        yield peer


@contextlib.contextmanager
def llama_serve(binary: Path, slots: int) -> Iterator[Peer]:
    """llama.cpp's server on the same weights in float32, one thread, with so many places, each for `tiny`'s whole window."""
    from ramify.models.convert_gguf import convert
    from ramify.models.registry import Registry

    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny.gguf"
        convert(Registry().resolve(str(TINY)), model, type="float32")
        command = [str(binary), "-m", str(model), "--port", str(port), "--host", "127.0.0.1", "-t", "1", "-tb", "1"]
        command += ["--parallel", str(slots), "-c", str(2048 * slots), "-ctk", "f32", "-ctv", "f32", "--no-webui"]
        command += ["--api-key", KEY]
        with _running("llama.cpp", command, {}, port, "tiny") as peer:
            yield peer


@contextlib.contextmanager
def _running(name: str, command: Sequence[str], environment: Mapping[str, str], port: int, model: str) -> Iterator[Peer]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=said, stderr=said)
        try:
            url = f"http://127.0.0.1:{port}"
            ends = time.monotonic() + STARTS_S
            while not _well(url):
                if process.poll() is not None or time.monotonic() > ends:
                    said.seek(0)
                    raise RuntimeError(f"{name} did not start: {said.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.3)
            yield Peer(name, url, model, process.pid)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _well(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
