"""Sessions: workers that stay between the regions of a network, and begin with a range of their own.

In processes of their own, with the pool of torch and with tersely's. `bench_session` says who drew how many items.
"""

from __future__ import annotations

import pytest
from backends.test_parallel import BORROWED, OWN, PREPARED, TORCH, run  # noqa: F401

from tersely.backends.cpu import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the native module has the workers")
SESSION = "session = native.module.bench_session\n"
BOTH = pytest.mark.parametrize("before", [OWN, BORROWED])


@BOTH
def test_every_item_is_drawn_once_and_most_by_the_worker_whose_range_it_is(before: str) -> None:
    said = run(
        SESSION
        + """
for threads, items in ((1, 7), (2, 1), (2, 2), (2, 3), (2, 64), (3, 5), (5, 4), (40, 100)):
    assert session(threads, 20, items, 0)[0] == 20 * items, (threads, items)
drawn, near, others = 0, 0, 0
for _ in range(20):  # a worker may come late
    found = session(2, 50, 64, 20)
    drawn, near, others = (a + b for a, b in zip((drawn, near, others), found))
print(drawn == 20 * 50 * 64, others > 0, near > drawn // 2)
""",
        before,
    )
    assert said == ["True", "True", "True"]


@BOTH
def test_an_error_of_the_caller_comes_out_when_workers_have_left_and_the_next_session_works(before: str) -> None:
    said = run(
        SESSION
        + """
for _ in range(20):
    try:
        session(2, 5, 16, 10, fail=True)
        print("no error")
    except ValueError as error:
        assert "failed" in str(error)
print(session(2, 5, 16, 10)[0])
""",
        before,
    )
    assert said == ["80"]


def test_who_sleeps_in_a_region_is_waited_for_and_callers_do_not_wait_for_each_other() -> None:
    said = run(
        SESSION
        + """
many = [threading.Thread(target=session, args=(2, 30, 16, 20, 2000)) for _ in range(6)]
for one in many: one.start()
print(session(2, 3, 8, 50, 20_000)[0])
for one in many: one.join()
""",
    )
    assert said == ["24"]


@BOTH
def test_a_forked_child_has_sessions_of_its_own(before: str) -> None:
    said = run(
        SESSION
        + """
session(2, 5, 16, 10)
child = os.fork()
if child == 0:
    os._exit(session(2, 5, 16, 10)[0] != 80)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), session(2, 5, 16, 10)[0])
""",
        before,
    )
    assert said == ["0", "80"]
