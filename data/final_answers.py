r"""What a response says in the end, for verifiers that compare an answer alone."""

import re

from data.number_answers import last_boxed

ANSWER = re.compile(r"(?P<bold>\*\*)?\banswer(?P<closed>\*\*)?\s*:(?P<late>\*\*)?", re.IGNORECASE)


def final_answer(text: str) -> str:
    r"""Returns the answer alone of a response.

    That is what follows its last `Answer:`, in as many lines as there are, and of that what stands
    in the last `\boxed{...}` if there is one. A response without either is an answer as a whole.

    Args:
        text: Any text.

    Returns:
        The answer, without white space around it and without the asterisks of bold type.

    Example:
        >>> final_answer("3 + 4 = 7, so **Answer: 7**")
        '7'
        >>> final_answer(r"That gives \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
    """
    marks = list(ANSWER.finditer(text))
    said = text[marks[-1].end() :] if marks else text
    boxed = last_boxed(said)
    if boxed is not None:
        return boxed.strip()
    said = said.strip()
    is_open = marks and marks[-1]["bold"] and not (marks[-1]["closed"] or marks[-1]["late"])
    return said.removesuffix("**").strip() if is_open else said
