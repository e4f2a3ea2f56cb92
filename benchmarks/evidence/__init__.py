"""The evidence: networks x states x coders and engines in one run, one record, one page.

    python -m benchmarks.evidence --models FOLDER [--quick] [--resume]
    make evidence

What is measured is data (cases.toml). Everything runs in a process of its own with a time limit (isolate.py), so a rival
that crashes, hangs or answers wrongly is one row that says so. `coding` has sizes and speeds of coders on the same
tensors, `running` whole networks on engines that take turns, `mixing` the planner's choice against every single
formulation. `page` makes docs/EVIDENCE.md and its pictures of the record, and of nothing else.
"""
