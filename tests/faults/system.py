"""The product with faults in reach: a proxy before Kafka and one before ClickHouse, and disks that can be full."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from aisleflow import secrets
from aisleflow.supervisor import aisleflow_command, environment
from tests.conftest import free_port
from tests.faults.proxies import HttpProxy, TcpProxy
from tests.system.running import System

SERVERS = ("kafka", "clickhouse")
# Longer than the longest freeze that a part must survive, which is longer than Kafka's session timeout (10 s).
SILENT_FOR_S = 16.0


@dataclass
class Disk:
    """A folder that can be full.

    Where mounting is allowed it is a file system of its own in memory, made as small as what it holds; else the limit
    on file sizes of the process that writes there is set to nothing, which fails each write too (EFBIG, not ENOSPC).
    """

    folder: Path
    pid: Callable[[], int | None]
    size_mib: int = 768
    may_mount: bool = True
    is_mounted: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.is_mounted = self.may_mount and self._mount(
            "-t", "tmpfs", "-o", f"size={self.size_mib}m,mode=700", "tmpfs"
        )

    @property
    def means(self) -> str:
        """How it is made full."""
        return "tmpfs" if self.is_mounted else "RLIMIT_FSIZE (mounting is not allowed here)"

    def fill(self) -> None:
        """No room for a byte more, or almost."""
        if self.is_mounted:
            for _ in range(100):  # what it holds may grow in between
                usage = os.statvfs(self.folder)
                used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
                if self._mount("-o", f"remount,size={used // 1024 + 64}k"):
                    return
            raise OSError(f"{self.folder} cannot be made smaller")
        self._limit(0)

    def free(self) -> None:
        """Room again."""
        if self.is_mounted:
            if not self._mount("-o", f"remount,size={self.size_mib}m"):
                raise OSError(f"{self.folder} cannot be made larger")
        else:
            self._limit(resource.RLIM_INFINITY)

    def remove(self) -> None:
        """Unmount; what it held is gone."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def _limit(self, size: int) -> None:
        if (pid := self.pid()) is not None:
            with suppress(ProcessLookupError):  # killed just now; the one that follows has no limit
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def _mount(self, *arguments: str) -> bool:
        if shutil.which("mount") is None:
            return False
        return subprocess.run(["mount", *arguments, str(self.folder)], capture_output=True, check=False).returncode == 0


class FaultySystem(System):
    """The product with a proxy before Kafka and one before ClickHouse, and with disks of limited size under both.

    Its ``settings`` lead through the proxies, ``direct`` does not.
    """

    def __init__(self, folder: Path, workers: int, rng: Random) -> None:
        self._extra: list[subprocess.Popen[bytes]] = []
        self.disks = {
            name: Disk(folder / "data" / name, lambda name=name: self.parts().get(name, {}).get("pid"))  # type: ignore[misc]
            for name in SERVERS
        }
        self.proxies: list[TcpProxy | HttpProxy] = []
        try:
            # The servers' ports are chosen by the parent; the proxies learn them before anything starts.
            self._rng = rng
            super().__init__(folder, workers, cycle_ms="100")
        except BaseException:
            self.stop()
            raise
        self.direct = self.settings
        known = secrets.load(self.data_dir)
        assert known is not None
        self.settings = self.direct.model_copy(
            update={
                "kafka": f"127.0.0.1:{self.kafka_proxy.port}",
                "clickhouse_url": type(self.direct.clickhouse_url)(known.clickhouse_url(self.clickhouse_proxy.port)),  # type: ignore[misc]
            }
        )

    def command(self) -> Sequence[str]:
        """The supervisor of ``tests/faults/up.py``, behind proxies that outlive it."""
        if not self.proxies:
            self.kafka_proxy = TcpProxy(self.ports["kafka"], self._rng)
            self.clickhouse_proxy = HttpProxy(self.ports["clickhouse"], self._rng)
            self.proxies = [self.kafka_proxy, self.clickhouse_proxy]
        arguments = ["--kafka-proxy", str(self.kafka_proxy.port), "--clickhouse-proxy", str(self.clickhouse_proxy.port)]
        return [sys.executable, "-m", "tests.faults.up", *arguments, "--silent-for", str(SILENT_FOR_S)]

    def add_worker(self) -> subprocess.Popen[bytes]:
        """One more worker beside those of the supervisor, which must be stopped by who asked for it. On return it has its
        partitions, or has failed to get any for half a minute.
        """
        own = self.settings.model_copy(update={"metrics_port": free_port(), "cycle_ms": 100})
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AISLEFLOW_")}
        path = self.data_dir / "logs" / "worker-extra.log"
        with path.open("ab") as log:
            worker = subprocess.Popen(
                aisleflow_command("worker"), env={**inherited, **environment(own)}, stdout=log, stderr=log
            )
            self._extra.append(worker)
            before, patience = log.tell(), time.monotonic() + 30
        while b"partitions_assigned" not in path.read_bytes()[before:] and time.monotonic() < patience:
            time.sleep(0.2)
        return worker

    def stop(self) -> None:
        """End everything, proxies and disks too."""
        for worker in self._extra:
            worker.kill()
            worker.wait()
        super().stop()
        for proxy in self.proxies:
            proxy.stop()
        for disk in self.disks.values():
            disk.remove()
        self._extra, self.proxies, self.disks = [], [], {}
