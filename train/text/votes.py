"""The final answer in a text, for votes: equal answers are equal texts."""

from data.final_answers import final_answer
from data.number_answers import read_number


def vote_of(text: str, *, is_number: bool) -> str:
    r"""Returns what a text answers with, in one form; empty if it answers nothing.

    Args:
        text: A solution.
        is_number: Whether the right answer is a number and nothing else; then the number that is
            answered with, else the text, counts. Where it stands says
            `data.final_answers.final_answer`.

    Example:
        >>> vote_of("In all 1,000.50 dollars.", is_number=True)
        '2001/2'
        >>> vote_of("Answer: 2, 3", is_number=False)
        '2, 3'
        >>> vote_of("I think so.\nAnswer: Mary is a knave.", is_number=False)
        'mary is a knave'
    """
    if is_number:
        number = read_number(final_answer(text))
        return "" if number is None else str(number)
    return " ".join(final_answer(text).split()).strip(".*` ").lower()
