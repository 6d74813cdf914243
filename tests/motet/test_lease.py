"""One machine at a time."""

import threading
import time

import pytest

from motet import lease as lease_module
from motet.errors import DataError
from motet.lease import Lease, only_holder
from motet.storage import write_atomic


def test_one_machine_at_a_time_holds_a_lease(machine):
    lease = Lease(machine("a") / "leases" / "run")
    assert lease.take()
    other = Lease(machine("b") / "leases" / "run")
    assert not other.take()
    with pytest.raises(DataError, match="another machine is writing run"), only_holder(other.folder, 0.2):
        raise AssertionError
    lease.give_back()
    with only_holder(other.folder):
        assert not Lease(machine("a") / "leases" / "run").take()
    again = Lease(machine("a") / "leases" / "run")
    assert again.take()
    again.give_back()


def test_a_lease_that_is_not_renewed_is_nobodys_and_one_that_is_stays(machine, monkeypatch):
    monkeypatch.setattr(lease_module, "_BEAT_S", 0.3)
    monkeypatch.setattr(lease_module, "_DEAD_S", 2.0)
    lease = Lease(machine("a") / "leases" / "run")
    assert lease.take()
    other = Lease(machine("b") / "leases" / "run")
    time.sleep(4.0)
    assert not other.take(), "it was renewed"
    lease._over.set()  # as if its process had died
    lease._renewing.join()
    time.sleep(4.0)
    assert other.take()
    other.give_back()


def test_a_lease_of_the_own_machine_is_of_the_dead(machine):
    dead = Lease(machine("a") / "leases" / "run")
    dead._beat()
    with only_holder(dead.folder, 0.0):
        pass


def test_a_lease_on_a_folder_is_for_nothing(tmp_path):
    with only_holder(tmp_path / "leases"):
        assert list(tmp_path.iterdir()) == []


def test_who_was_away_while_another_machine_took_over_writes_no_more(machine, monkeypatch):
    monkeypatch.setattr(lease_module, "_BEAT_S", 0.2)
    here = machine("a")
    lease = Lease(here / "leases" / "run")
    assert lease.take()
    lease.mirror.delete(lease._file)  # as the other one does with a lease that is not renewed
    lease._renewing.join(20)
    with pytest.raises(DataError, match="another machine holds the lease run by now"):
        write_atomic(here / "runs" / "x", "late")
    lease.give_back()


def test_processes_of_one_machine_wait_for_each_other(machine):
    here, order = machine("a"), []

    def second() -> None:
        with only_holder(here / "leases" / "key"):
            order.append("second")

    with only_holder(here / "leases" / "key"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.5)
        order.append("first")
    waiting.join(20)
    assert order == ["first", "second"]
