"""What a machine keeps: on its volume, which is never taken from others, and in the buckets."""

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from tests.servers import PROJECT
from tests.stack.machines import run


def partitioned(disk):
    """Give the disk a partition table of DOS, with one partition."""
    entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (8192).to_bytes(4, "little")
    with disk.open("r+b") as file:
        file.seek(446)
        file.write(entry.ljust(64, b"\0") + b"\x55\xaa")


def swap(disk):
    run(["mkswap", disk])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a block device of a file")
@pytest.mark.parametrize(("prepare", "kind"), [(partitioned, "dos"), (swap, "swap")])
def test_a_disk_with_anything_else_on_it_is_refused_and_stays_as_it_is(tmp_path, prepare, kind):
    disk, folder = tmp_path / "disk", tmp_path / "mnt"
    with disk.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    prepare(disk)
    before = disk.read_bytes()
    device = run(["losetup", "--find", "--show", disk]).strip()
    try:
        command = [PROJECT / "deploy" / "volume.sh", device, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        run(["losetup", "--detach", device])
    assert done.returncode == 1
    assert f"expected nothing or ext4, found {kind}; nothing was changed" in done.stderr
    assert (disk.read_bytes(), folder.exists()) == (before, False)


@pytest.mark.slow
def test_postgresql_does_not_start_without_its_volume(admin, tmp_path):
    with pytest.raises(AssertionError, match="POSTGRES_VOLUME: expected a folder"):
        admin.compose("run", "--rm", "--no-deps", "-T", "postgres", POSTGRES_VOLUME=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_backup_brings_the_dump_and_the_days_that_are_over_into_the_bucket(admin):
    admin.sql(
        "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, remaining, count, timestamp)"
        " VALUES (1, '/yesterday', 200, 1, 1, 1, now() - interval '1 day')"
    )
    admin.script("backup")
    bucket = admin.storage / "backups"
    [dump] = (bucket / "dumps").iterdir()
    assert dump.read_bytes().startswith(b"PGDMP")
    [day] = (bucket / "archive").glob("*/request_log-*.csv.gz")
    assert b"/yesterday" in gzip.decompress(day.read_bytes())
    names = [str(file.relative_to(bucket)) for file in (day, dump)]
    assert admin.script("fetch").splitlines() == names
    fetched = Path(admin.script("fetch", names[1]).removeprefix("fetch: ").strip())
    assert (fetched.name, fetched.read_bytes()) == (dump.name, dump.read_bytes())
    assert fetched.stat().st_mode & 0o077 == 0
    refused = admin.try_script("fetch", "dumps")
    assert (refused.returncode, "expected a name that fetch.sh lists" in refused.stdout) == (1, True)
    marker = admin.state / "last-backup"
    finished = marker.stat().st_mtime_ns
    # A bucket that takes nothing: a file is in its place.
    bucket.rename(bucket.with_name("away"))
    bucket.touch()
    try:
        assert admin.try_script("backup", SEND_SECONDS="0").returncode != 0
    finally:
        bucket.unlink()
        bucket.with_name("away").rename(bucket)
    assert marker.stat().st_mtime_ns == finished


@pytest.mark.slow
def test_emptied_buckets_are_empty(admin, tmp_path):
    for bucket in ("backups", "handover"):
        (tmp_path / bucket / "dumps").mkdir(parents=True)
        (tmp_path / bucket / "dumps" / "some.dump").write_text("dump")
    settings = tmp_path / "etc"
    settings.mkdir()
    text = (admin.settings / "host.env").read_text().replace(str(admin.storage), str(tmp_path))
    (settings / "host.env").write_text(text)
    refused = admin.try_script("empty-buckets", SETTINGS_DIR=str(settings))
    assert (refused.returncode, "say empty-buckets.sh --yes" in refused.stdout) == (1, True)
    assert "backups is empty" in admin.script("empty-buckets", "--yes", SETTINGS_DIR=str(settings))
    assert [path for path in (tmp_path / "backups").rglob("*") if path.is_file()] == []
