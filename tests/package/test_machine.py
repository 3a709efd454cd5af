"""Threads and memory of invented machines: sysfs and cgroup trees, Windows records, a vm_stat report."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq import machine
from edgeq.machine import Cpu, CpuFacts, choose_threads, linux, macos, windows

MODERN = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"


class Tree:
    """A root folder in which files are written by their absolute names."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.put(name, text)

    def put(self, name: str, text: str) -> None:
        path = Path(self.root, name.lstrip("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    made.put("/sys/devices/system/cpu/online", "0-3")
    made.put("/proc/meminfo", "MemTotal:  8000 kB\nMemFree: 1000 kB\nMemAvailable:   4000 kB")
    return made


def chosen(tree: Tree) -> machine.Threads:
    return choose_threads(linux.cpu_facts(tree.root))


def test_plain_cores(tree: Tree) -> None:
    assert chosen(tree).number == 4


def test_smt_siblings_count_once(tree: Tree) -> None:
    for cpu in range(4):
        tree.put(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 2},{cpu % 2 + 2}")
    found = chosen(tree)
    assert found.number == 2
    assert "2 physical cores" in " ".join(found.reasons)


def test_a_single_core_uses_both_its_threads() -> None:
    assert choose_threads(CpuFacts((Cpu("0"), Cpu("0")), 2)).number == 2
    assert choose_threads(CpuFacts((Cpu("0"),), 1)).number == 1


def test_big_cores_of_an_arm_come_first(tree: Tree) -> None:
    tree.put("/sys/devices/system/cpu/online", "0-7")
    for cpu in range(8):
        tree.put(f"/sys/devices/system/cpu/cpu{cpu}/cpu_capacity", "1024" if cpu > 3 else "530")
    found = chosen(tree)
    assert found.number == 4
    assert "4 performance cores of 8" in found.reasons


def test_hybrid_x86_with_few_performance_cores_takes_some_others(tree: Tree) -> None:
    tree.put("/sys/devices/system/cpu/online", "0-11")
    tree.put("/sys/devices/cpu_atom/cpus", "4-11")
    for cpu in range(4):  # two performance cores with two threads each
        tree.put(
            f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list",
            f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}",
        )
    found = chosen(tree)
    assert found.number == 4
    assert "2 performance cores of 10, with 2 efficiency cores" in found.reasons


def test_the_tightest_quota_of_cgroup_v2_counts(tree: Tree) -> None:
    tree.put("/proc/self/cgroup", "0::/outer/inner")
    tree.put("/proc/self/mountinfo", MODERN)
    tree.put("/sys/fs/cgroup/outer/cpu.max", "250000 100000")
    tree.put("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000")
    found = chosen(tree)
    assert found.number == 2
    assert "a control group grants the time of 2.5 CPUs" in found.reasons


def test_a_small_quota_leaves_one_thread(tree: Tree) -> None:
    tree.put("/proc/self/cgroup", "0::/")
    tree.put("/proc/self/mountinfo", MODERN)
    tree.put("/sys/fs/cgroup/cpu.max", "20000 100000")
    assert chosen(tree).number == 1


def test_cgroup_v1_in_a_container_without_its_own_namespace(tree: Tree) -> None:
    tree.put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n0::/")
    mounts = "cpu,cpuacct", "memory"
    lines = [f"3 2 0:1 /docker/abc /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}" for name in mounts]
    tree.put("/proc/self/mountinfo", "\n".join(lines))
    tree.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000")
    tree.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    tree.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000")
    tree.put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "700000")
    tree.put("/sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_inactive_file 100000\ntotal_active_file 50000")
    assert linux.quota(tree.root) == 3.0
    found = linux.memory(tree.root)
    assert (found.available, found.limit) == (450_000, 1_000_000)


def test_a_group_outside_the_mount_is_looked_up_at_its_top(tree: Tree) -> None:
    tree.put("/proc/self/cgroup", "0::/../elsewhere")
    tree.put("/proc/self/mountinfo", MODERN.replace(" / /sys", " /inner /sys"))
    tree.put("/sys/fs/cgroup/cpu.max", "100000 100000")
    tree.put("/sys/fs/elsewhere/cpu.max", "200000 100000")
    assert linux.quota(tree.root) == 1.0
    assert [folder for folder, _ in linux.cgroups("cpu", tree.root)] == [os.path.join(tree.root, "sys/fs/cgroup")]


def test_no_limit_of_cgroup_v1_is_none(tree: Tree) -> None:
    tree.put("/proc/self/cgroup", "4:cpu:/\n5:memory:/")
    lines = [f"3 2 0:1 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}" for name in ("cpu", "memory")]
    tree.put("/proc/self/mountinfo", "\n".join(lines))
    tree.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    tree.put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    tree.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    assert linux.quota(tree.root) is None
    found = linux.memory(tree.root)
    assert (found.available, found.total, found.limit) == (4000 << 10, 8000 << 10, None)


def test_memory_of_cgroup_v2(tree: Tree) -> None:
    tree.put("/proc/self/cgroup", "0::/a/b")
    tree.put("/proc/self/mountinfo", MODERN)
    tree.put("/sys/fs/cgroup/a/memory.max", "2000000")
    tree.put("/sys/fs/cgroup/a/memory.current", "1900000")
    tree.put("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 600000\nactive_file 0")
    tree.put("/sys/fs/cgroup/a/b/memory.max", "max")
    found = linux.memory(tree.root)
    assert (found.available, found.limit) == (700_000, 2_000_000)
    assert "600000 of it page cache" in found.reasons[-1]


@pytest.mark.parametrize("text", ["", "nonsense", "0::", "::::", "1:2", "-1", "9" * 30, "max max", "\0"])
def test_odd_files_are_no_trouble(tree: Tree, text: str) -> None:
    for name in ("/proc/self/cgroup", "/proc/self/mountinfo", "/proc/meminfo", "/sys/fs/cgroup/cpu.max"):
        tree.put(name, text)
    assert chosen(tree).number >= 1
    assert linux.memory(tree.root).limit is None


def test_cpu_lists() -> None:
    assert linux.cpu_list("0-2,5\n") == [0, 1, 2, 5]
    assert linux.cpu_list("") == linux.cpu_list("a-b") == linux.cpu_list("0-99999999") == []


@pytest.mark.skipif(sys.platform != "linux", reason="the affinity mask of this process")
def test_the_affinity_mask_of_this_process_is_kept() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.threads_to_use() == 1
        if (os.cpu_count() or 1) > 1:
            assert "the affinity mask allows 1" in machine.threads().reasons
    finally:
        os.sched_setaffinity(0, before)


def test_this_machine_answers() -> None:
    assert 1 <= machine.threads_to_use() <= (os.cpu_count() or 1)
    memory = machine.memory()
    if memory.available is not None and memory.total is not None:
        assert 0 < memory.available <= memory.total


def test_a_system_nobody_knows_still_has_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    assert machine.threads_to_use() == (os.cpu_count() or 1)
    assert machine.memory_available() is None


def core_record(efficiency: int, mask: int, group: int = 0, smt: bool = False) -> bytes:
    """One record of GetLogicalProcessorInformationEx for a core."""
    return struct.pack("<IIBB20sH", 0, 48, smt, efficiency, b"", 1) + struct.pack("<QH6x", mask, group)


def test_windows_records() -> None:
    data = b"".join([core_record(1, 0b11, smt=True), core_record(1, 0b1100, smt=True), core_record(0, 0x10)])
    facts = windows.facts_of(data, 0b11111, 8)
    assert facts.online == 5
    assert choose_threads(facts).number == 3  # two performance cores, and one of the others up to four
    assert len(windows.facts_of(data, 0b10011, 8).cpus) == 3
    far = windows.facts_of(core_record(0, 0b1, group=1), 0, 8)
    assert len(far.cpus) == 1


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_any_bytes_are_records_enough(data: bytes, mask: int) -> None:
    assert choose_threads(windows.facts_of(data, mask, 8)).number >= 1


def test_vm_stat() -> None:
    report = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10.
Pages active:                            500.
Pages inactive:                           20.
Pages speculative:                         3.
Pages throttled:                           0.
Pages purgeable:                           1.
"""
    assert macos.reclaimable(report) == 34 * 16384
    assert macos.reclaimable("") is None


@given(
    st.lists(st.builds(Cpu, st.sampled_from("abcdef"), st.floats(0.1, 2000)), min_size=1, max_size=12),
    st.none() | st.floats(0.01, 20),
)
def test_the_choice_stays_within_its_bounds(cpus: list[Cpu], quota: float | None) -> None:
    number = choose_threads(CpuFacts(tuple(cpus), len(cpus), quota)).number
    assert 1 <= number <= len(cpus)
    assert quota is None or number <= max(1, quota)
