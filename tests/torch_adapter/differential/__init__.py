"""The differential test: calls of other people's libraries on a dense weight and on its compressed twin.

    namespaces   the libraries' own names, and which of them take a tensor or a module
    signatures   arguments that fit most names, tried on the dense twin
    recipes      expressions for names that need more than that
    exclusions   names that are left out, each with its reason
    subjects     the twins: kinds of weights, and what expressions may name
    outcomes     what a call gave and left behind, as data, and how two of them compare
    twins        one call on both, and whether that is the same
    child        runs calls in a process of its own
    runner       hands calls to children, and finds the one that killed its child
    report       the list and its failures as text (`python -m differential.report`)

A call is a Python expression over the names of `subjects`, so that a failure can be repeated by hand.
"""
