"""Who looks and who changes."""

import threading
import time

import pytest

from motet.retrieval.standstill import Standstill


def test_a_change_waits_until_nobody_looks_and_keeps_others_from_looking() -> None:
    lock, order = Standstill(), []
    inside, free = threading.Event(), threading.Event()

    def look() -> None:
        with lock.looking(), lock.looking():
            inside.set()
            free.wait(10)
            order.append("looked")

    def change() -> None:
        with lock.changing():
            order.append("changed")

    def look_later() -> None:
        with lock.looking():
            order.append("looked later")

    threads = [threading.Thread(target=work) for work in (look, change, look_later)]
    threads[0].start()
    inside.wait(10)
    threads[1].start()
    while lock._changes == 0:
        time.sleep(0.001)
    threads[2].start()
    time.sleep(0.05)
    assert order == []
    free.set()
    for thread in threads:
        thread.join(10)
    assert order == ["looked", "changed", "looked later"]


def test_whoever_looks_may_look_again_while_another_waits_to_change() -> None:
    lock = Standstill()
    with lock.looking():
        other = threading.Thread(target=lambda: lock.changing().__enter__())
        other.start()
        while lock._changes == 0:
            time.sleep(0.001)
        with lock.looking():
            assert lock._looking == 1
    other.join(10)
    assert not other.is_alive()


def test_whoever_looks_cannot_change() -> None:
    lock = Standstill()
    with lock.looking(), pytest.raises(AssertionError, match="whoever looks cannot change"), lock.changing():
        pass
    with lock.changing():
        pass


def test_an_error_inside_lets_others_in() -> None:
    lock = Standstill()
    with pytest.raises(ValueError, match="x"), lock.looking():
        raise ValueError("x")
    with pytest.raises(ValueError, match="y"), lock.changing():
        raise ValueError("y")
    with lock.changing():
        pass


def test_nothing_changes_under_many_who_look() -> None:
    lock, pair, wrong = Standstill(), [0, 0], []

    def look() -> None:
        for _ in range(300):
            with lock.looking():
                if pair[0] != pair[1]:
                    wrong.append(list(pair))

    def change() -> None:
        for number in range(200):
            with lock.changing():
                pair[0] = number
                time.sleep(0)
                pair[1] = number

    threads = [threading.Thread(target=work) for work in (look, look, look, change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
