"""Folders that only their owner enters, where others could have been before."""

import os
import stat
from pathlib import Path

import pytest

from operando.queueing.errors import QueueError
from operando.queueing.places import private, write_private


def test_a_link_in_place_of_a_private_folder_is_refused_and_not_followed(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir(0o755)
    public.chmod(0o755)
    link = tmp_path / "operando-0-0123456789ab"
    link.symlink_to(public)
    with pytest.raises(QueueError, match="not a folder of yours"):
        private(link)
    assert public.stat().st_mode & 0o777 == 0o755


def test_a_file_in_place_of_a_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QueueError):
        private(tmp_path / "file")


def test_a_folder_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    assert private(folder).stat().st_mode & 0o777 == 0o700


def test_a_file_of_ours_survives_a_power_cut_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, list[str]]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_folder, os.listdir(descriptor) if is_folder else []))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_private(tmp_path / "given.json", "{}")
    assert synced == [(False, []), (True, ["given.json"])]
