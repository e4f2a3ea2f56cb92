"""Other people's libraries on a dense weight and on its compressed twin: equal results, or errors by name (differential/)."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from differential import exclusions, namespaces, recipes, report, runner
from differential.calls import Call, Run


@pytest.fixture(scope="module")
def listed() -> tuple[list[Call], list[str]]:
    return report.listed()


def test_every_name_has_a_call_or_a_reason(listed: tuple[list[Call], list[str]]) -> None:
    """A name that is new in a newer release is found here: give it a recipe, or an exclusion with its reason."""
    calls, unknown = listed
    assert not unknown
    assert len(calls) > 2000
    names = set(namespaces.names())
    if namespaces.ADAPTERS:
        assert not recipes.unused(names)
        assert not exclusions.unused(names)


def test_twins_agree(listed: tuple[list[Call], list[str]]) -> None:
    failures, count = runner.perform(report.sample(listed[0]))
    assert count > 2000
    assert not failures, report.text(failures)


@pytest.mark.slow
@pytest.mark.parametrize("context", report.CONTEXTS)
@pytest.mark.parametrize("kind", report.KINDS)
def test_twins_agree_everywhere(listed: tuple[list[Call], list[str]], kind: str, context: str) -> None:
    failures, _ = runner.perform(report.everywhere(listed[0], [kind], [context]))
    assert not failures, report.text(failures)


def test_what_would_be_wrong_is_found() -> None:
    """Calls that only lie or die where the weight is compressed, for the list is worth what it finds."""
    ours = "hasattr(w, 'storage_')"
    wrong = {
        f"w + 1 if {ours} else w": "other values",
        f"w.double() if {ours} else w": "dtype",
        f"w[:1] if {ours} else w": "shape",
        f"[w] if {ours} else w": "instead of",
        f"1 / 0 if {ours} else w": "foreign error: ZeroDivisionError",
        f"w if {ours} else 1 / 0": "accepts what dense refuses",
        f"None if {ours} else (w.copy_(o), None)[1]": "afterwards weight",
        f"(w.copy_(o), None)[1] if {ours} else None": "afterwards weight",
        f"setattr(m, 'bias', None) if {ours} else None": "afterwards output",
        f"__import__('os').kill(__import__('os').getpid(), 11) if {ours} else None": "the process dies: SIGSEGV",
    }
    right = ["w + 1", "w[100000]", "w.no_such_name", "w.mul_(2) and None", "torch.rand(3)"]
    runs = [Run(Call("test", text), "float32", "fused", "no_grad") for text in [*wrong, *right]]
    failures, count = runner.perform(runs, workers=1)
    assert count == len(runs)
    found = {failure.run.call.text: failure.what for failure in failures}
    assert set(found) == set(wrong)
    for text, what in wrong.items():
        assert what in found[text], text


def test_a_child_that_an_earlier_call_harmed_tells_which() -> None:
    late = "__import__('os').kill(__import__('os').getpid(), 11) if getattr(np, 'harmed', False) else None"
    texts = ["w + 1", "setattr(np, 'harmed', True)", "w + 2", late]
    failures, count = runner.perform(
        [Run(Call("test", one), "float32", "fused", "no_grad") for one in texts], workers=1
    )
    assert count == len(texts)
    assert [(one.run.call.text, one.what) for one in failures] == [
        (late, f"the process dies: SIGSEGV after {texts[1]}")
    ]
