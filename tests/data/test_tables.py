"""Tables: aligned, with shares as percentages and thousands set apart."""

from data.tables import table


def test_a_table_by_hand():
    rows = [
        {"source": "text", "tokens": 1234567, "share": 0.5, "passes": 2.0, "capped": ""},
        {"source": "proofs", "tokens": 89, "share": 0.0314159, "passes": 0.333, "capped": "yes"},
    ]
    assert table(rows).split("\n") == [
        "source     tokens   share  passes  capped",
        "text    1,234,567  50.00%    2.00",
        "proofs         89   3.14%    0.33  yes",
    ]


def test_underscores_of_names_are_not_printed():
    assert table([{"token_share": 1.0}]) == "token share\n    100.00%"
