"""What every executor over tensors has to show, as classes that the tests of each of them inherit.

The tests take two fixtures, which each executor's `conftest.py` makes: `lab`, a `Lab` over its class, and `served`, a
function from the folder of an export to a function from a batch to head → scores.
"""
