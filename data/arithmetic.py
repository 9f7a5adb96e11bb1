"""Arithmetic word problems with worked solutions, written by families of templates."""

import dataclasses
import itertools
import operator
import random
from collections.abc import Iterator

import tensorflow_datasets as tfds

from data.cache import digest
from data.families import check_families, distinct, in_turn

NAMES = (
    *("Ada", "Ali", "Ana", "Ben", "Chen", "Diego", "Ella", "Emre", "Fatima", "Hana", "Ivan", "Jo"),
    *("Kofi", "Lena", "Mia", "Nia", "Omar", "Priya", "Rosa", "Sam", "Tomas", "Uma", "Yuki", "Zoe"),
)
THINGS = (
    *("apples", "balloons", "beads", "books", "buttons", "candles", "cards", "carrots", "cups"),
    *("eggs", "feathers", "flowers", "keys", "lemons", "marbles", "nuts", "pencils", "plums"),
    *("ribbons", "shells", "stamps", "stickers", "stones", "tickets"),
)
TEMPLATES = 6  # of each family
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}


@dataclasses.dataclass(frozen=True)
class Family:
    """Word problems of one structure, solved by the same steps.

    A step reads `result = left sign right`, with one blank between its parts. Numbers are drawn
    anew until every result is a positive integer, so steps also say which numbers make sense.
    """

    numbers: tuple[str, ...]
    """The numbers in the problem's text, each at least 2."""
    steps: tuple[str, ...]
    """Equations over numbers, earlier results and literals; the last result is the answer."""
    templates: tuple[str, ...]
    """Texts with the `numbers` and any of `{name}`, `{other}`, `{third}`, `{things}`, `{others}`
    to fill in. A result that is called like one of these words is shown as that word."""


FAMILIES = {
    "purchase": Family(
        numbers=("count", "price", "more", "cost"),
        steps=("things = count * price", "others = more * cost", "total = things + others"),
        templates=(
            "{name} buys {count} {things} at {price} coins each and {more} {others} at {cost} "
            "coins each. How many coins does {name} pay?",
            "One of the {things} costs {price} euros, one of the {others} {cost} euros. What do "
            "{count} {things} and {more} {others} cost {name}?",
            "At the market {name} takes {count} {things} for {price} dollars each. Then {name} "
            "takes {more} {others} for {cost} dollars each. What is the bill in dollars?",
            "What is the total price of {count} {things} and {more} {others}, if {name} sells "
            "{things} at {price} coins and {others} at {cost} coins apiece?",
            "{name} wants {count} {things} and {other} wants {more} {others}. The {things} are "
            "{price} euros each, the {others} {cost} euros each. How many euros do they need?",
            "A shop charges {price} dollars for each of its {things} and {cost} dollars for each "
            "of its {others}. {name} orders {count} {things} and {more} {others}. What is due?",
        ),
    ),
    "sharing": Family(
        numbers=("had", "found", "people"),
        steps=("all = had + found", "share = all / people"),
        templates=(
            "{name} has {had} {things} and finds {found} more. All are shared equally among "
            "{people} children. How many does each child get?",
            "{name} brings {had} {things}, {other} brings {found}. They split them evenly between "
            "{people} tables. How many {things} are on each table?",
            "{people} friends share {had} {things} of {name} and {found} {things} of {other} "
            "fairly. How many {things} does a friend receive?",
            "How many {things} are in each bag if {name} spreads {had} old and {found} new "
            "{things} evenly over {people} bags?",
            "On Monday {name} collects {had} {things}, on Tuesday {found}. Then {name} hands them "
            "out to {people} neighbors, the same number to each. How many is that?",
            "A box of {had} {things} and a box of {found} {things} are emptied and dealt out "
            "equally to the {people} players of {name}'s team. How many does one player hold?",
        ),
    ),
    "travel": Family(
        numbers=("speed", "hours", "rest"),
        steps=("first = speed * hours", "distance = first + rest"),
        templates=(
            "{name} cycles {speed} kilometers an hour for {hours} hours and then walks {rest} "
            "kilometers. How many kilometers is that?",
            "For {hours} hours a bus takes {name} {speed} miles each hour. The last {rest} miles "
            "{name} goes by taxi. How long is the trip in miles?",
            "A boat with {name} aboard makes {speed} kilometers per hour. After {hours} hours the "
            "harbor is {rest} kilometers away. How many kilometers is the whole way?",
            "How far does {name} get by running {speed} kilometers an hour for {hours} hours and "
            "another {rest} kilometers after a break?",
            "{name} visits {other}: first {rest} miles on foot, then {hours} hours on a horse that "
            "covers {speed} miles an hour. How many miles lie between them?",
            "{name} drives a tractor at {speed} kilometers per hour. It has done {rest} kilometers "
            "today and goes on for {hours} hours. How many kilometers will it have done?",
        ),
    ),
    "ages": Family(
        numbers=("age", "known", "later"),
        steps=("years = later - known", "name = age + years"),
        templates=(
            "{name} is {age} years old and {other} is {known}. How old will {name} be when {other} "
            "is {later}?",
            "When {other} was {known}, {name} was {age}. Now {other} is {later}. What is {name}'s "
            "age?",
            "{other} turned {known} on the day {name} turned {age}. Which birthday does {name} "
            "have when {other} turns {later}?",
            "A photo shows {name} at {age} and {other} at {known}. Today {other} is {later} years "
            "old. How many years old is {name}?",
            "How old is {name} when {other} reaches {later}, given that {name} is {age} in the "
            "year in which {other} is {known}?",
            "{other}, aged {known}, will move away at {later}. {name} is {age} now. At what age "
            "will {name} see {other} leave?",
        ),
    ),
    "exchange": Family(
        numbers=("had", "given", "received"),
        steps=("left = had - given", "now = left + received"),
        templates=(
            "{name} has {had} {things}, gives {given} to {other} and gets {received} from {third}. "
            "How many {things} does {name} have now?",
            "Of {had} {things}, {name} loses {given}. Later {other} brings {received} new ones. "
            "How many are there in the end?",
            "There are {had} {things} on the shelf. {name} takes {given} away and {other} puts "
            "{received} there. How many {things} are on the shelf?",
            "{name} starts a game with {had} {things}. In round one {name} loses {given}, in "
            "round two {name} wins {received}. With how many does {name} finish?",
            "{other} borrows {given} of {name}'s {had} {things}, and {third} gives {name} "
            "{received}. How many {things} has {name} got left?",
            "In the morning {name} sells {given} of {had} {things}. At noon {received} more are "
            "delivered. How many {things} does {name} have in the afternoon?",
        ),
    ),
    "perimeter": Family(
        numbers=("length", "width"),
        steps=("two_sides = length + width", "perimeter = 2 * two_sides"),
        templates=(
            "{name}'s garden is a rectangle, {length} meters long and {width} meters wide. How "
            "many meters of fence go around it?",
            "{name} runs once around a rectangular field of {length} by {width} meters. How many "
            "meters does {name} run?",
            "How many centimeters of tape does {name} need for the edge of a table that is "
            "{length} centimeters long and {width} centimeters wide?",
            "{name} draws a rectangle with sides of {length} and {width} centimeters. What is its "
            "perimeter in centimeters?",
            "The floor of {name}'s room has four walls: two of {length} feet and two of {width} "
            "feet. How many feet do they measure together?",
            "A picture that {name} painted is {width} inches wide and {length} inches high. How "
            "many inches of wood make a frame around it?",
        ),
    ),
    "change": Family(
        numbers=("count", "price", "paid"),
        steps=("cost = count * price", "change = paid - cost"),
        templates=(
            "{name} buys {count} {things} at {price} coins each and pays with {paid} coins. How "
            "many coins does {name} get back?",
            "Each of the {things} costs {price} euros. {name} takes {count} and hands over {paid} "
            "euros. How much is the change?",
            "With {paid} dollars in the purse, {name} pays for {count} {things}, {price} dollars "
            "apiece. How many dollars remain?",
            "How much money is left of {name}'s {paid} coins after buying {count} {things} for "
            "{price} coins each?",
            "{name} owes {other} {price} euros for each of {count} {things} and gives {other} "
            "{paid} euros. How many euros should {other} return?",
            "{other} sells {things} at {price} dollars. {name} has saved {paid} dollars and orders "
            "{count} {things}. What does {name} have left?",
        ),
    ),
    "comparison": Family(
        numbers=("own", "more", "fewer"),
        steps=(
            *("other = own + more", "third = other - fewer"),
            *("two = own + other", "three = two + third"),
        ),
        templates=(
            "{name} has {own} {things}. {other} has {more} more than {name}, and {third} has "
            "{fewer} fewer than {other}. How many do the three have together?",
            "{third} found {fewer} {things} fewer than {other}, who found {more} more than {name}. "
            "{name} found {own}. How many {things} did they find in all?",
            "There are {own} {things} in {name}'s bag, {more} more in {other}'s, and in {third}'s "
            "{fewer} fewer than in {other}'s. How many {things} are in the three bags?",
            "How many {things} do {name}, {other} and {third} own if {name} owns {own}, {other} "
            "{more} more than that, and {third} {fewer} fewer than {other}?",
            "{name} sold {own} {things}. {other} beat {name} by {more}, but {third} stayed {fewer} "
            "behind {other}. What is the sum of their sales?",
            "{other} has {more} {things} more than {name} and {fewer} more than {third}. {name} "
            "has {own}. How many {things} are there altogether?",
        ),
    ),
    "grouping": Family(
        numbers=("total", "kept", "size"),
        steps=("rest = total - kept", "groups = rest / size"),
        templates=(
            "{name} has {total} {things}, keeps {kept} and packs the rest into boxes of {size}. "
            "How many boxes does {name} fill?",
            "Of {total} {things}, {kept} are damaged. {name} ties the others into bundles of "
            "{size}. How many bundles are there?",
            "After giving {kept} of {total} {things} to {other}, {name} lays the remaining ones "
            "out in rows of {size}. How many rows are there?",
            "How many bags does {name} need for {total} {things} if {kept} stay outside and each "
            "bag holds {size}?",
            "{other} takes {kept} out of a crate with {total} {things}. {name} sorts what is left "
            "into piles of {size}. How many piles does that make?",
            "{name} counts {total} {things}, sets {kept} aside and gives every guest {size} of the "
            "rest until none remain. How many guests are there?",
        ),
    ),
    "average": Family(
        numbers=("a", "b", "c"),
        steps=("two = a + b", "sum = two + c", "average = sum / 3"),
        templates=(
            "{name} has {a} {things}, {other} has {b} and {third} has {c}. How many do "
            "they have on average?",
            "In three games {name} scores {a}, {b} and {c} points. What is the average score?",
            "What is the mean number of {things} in three boxes of {name} with {a}, {b} and "
            "{c} {things}?",
            "{name} reads {a} pages on Monday, {b} on Tuesday and {c} on Wednesday. How "
            "many pages a day is that on average?",
            "{name}, {other} and {third} pool {a}, {b} and {c} {things} and take equal "
            "parts. How many {things} does each take?",
            "Three plants of {name} are {a}, {b} and {c} centimeters tall. What is their "
            "average height in centimeters?",
        ),
    ),
}


@dataclasses.dataclass(eq=False)
class ArithmeticConfig(tfds.core.BuilderConfig):
    """What the problems depend on; its name holds a hash of it, so two never share a folder.

    Raises:
        ValueError: If `families` is empty, names an unknown one or one twice, or if `max_number` is
            below 2.
    """

    name: str = ""
    families: tuple[str, ...] = tuple(FAMILIES)
    """Which of `FAMILIES` to draw from, in equal parts."""
    max_number: int = 20
    """The largest number in a problem's text; results may be larger."""
    templates: int = TEMPLATES
    """Diversity of wording: how many templates of each family to use."""
    num_train: int = 1000
    """Problems in the split `train`; 0 leaves it out."""
    num_held_out: int = 100
    """Problems in the split `held_out`; 0 leaves it out."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        check_families(self.families, FAMILIES)
        if self.max_number < 2:
            raise ValueError(f"max_number must be at least 2, got {self.max_number}; raise it.")
        if not 1 <= self.templates <= TEMPLATES:
            raise ValueError(f"templates must lie in 1..{TEMPLATES}; got {self.templates}.")
        self.name = "arithmetic_" + digest(
            families=self.families,
            max_number=self.max_number,
            templates=self.templates,
            num_train=self.num_train,
            num_held_out=self.num_held_out,
            seed=self.seed,
        )


class ArithmeticWordProblems(tfds.core.GeneratorBasedBuilder):
    """Arithmetic word problems with worked solutions; no problem occurs twice in the whole corpus.

    Splits: `train` and `held_out`, families in turn. Needs no TensorFlow; build it with
    `file_format="array_record"` and read it with `as_data_source`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # No BUILDER_CONFIGS: TFDS would refuse a config of the same name that is another object.

    def _info(self) -> tfds.core.DatasetInfo:
        text = ("problem", "trace", "answer", "family", "template")
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({name: tfds.features.Text() for name in text}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager
        config, taken = self.builder_config or ArithmeticConfig(), set()
        streams = [
            distinct(
                problems(family, config.max_number, config.seed, config.templates), family, taken
            )
            for family in config.families
        ]
        splits = in_turn(streams, train=config.num_train, held_out=config.num_held_out)
        return {split: self._generate_examples(rows) for split, rows in splits.items()}

    def _generate_examples(self, rows: list[dict]) -> Iterator:
        yield from enumerate(rows)


def problems(
    family: str, max_number: int, seed: int, templates: int = TEMPLATES
) -> Iterator[dict[str, str] | None]:
    """Yields draws of a family without end.

    Args:
        family: One of `FAMILIES`.
        max_number: The largest number in a problem's text.
        seed: The draw at an index depends on it, the family, the index and `templates` only.
        templates: How many of the family's templates to use, the first ones.

    Yields:
        `problem`, `trace`, `answer`, `family` and `template`, its number; None where the numbers
        drawn make no sense.
    """
    kind = FAMILIES[family]
    for index in itertools.count():
        rng = random.Random(f"{seed} {family} {index}")
        words = _words(rng)
        values = {name: _number(rng, max_number) for name in kind.numbers}
        solution = _solve(kind.steps, values, words)
        if solution is None:
            yield None
        else:
            template = rng.randrange(len(kind.templates[:templates]))
            trace, answer = solution
            yield {
                "problem": kind.templates[template].format(**words, **values),
                "trace": trace,
                "answer": answer,
                "family": family,
                "template": str(template + 1),
            }


def _words(rng: random.Random) -> dict[str, str]:
    people = zip(("name", "other", "third"), rng.sample(NAMES, 3), strict=True)
    things = zip(("things", "others"), rng.sample(THINGS, 2), strict=True)
    return dict(people) | dict(things)


def _number(rng: random.Random, largest: int) -> int:
    """Draws from 2 to `largest`, small numbers more often, else few draws would make sense."""
    return int(2 * ((largest + 1) / 2) ** rng.random())


def _solve(
    steps: tuple[str, ...], numbers: dict[str, int], words: dict[str, str]
) -> tuple[str, str] | None:
    """Returns trace and answer, or None if a result is no positive integer."""
    values, lines = dict(numbers), []
    for step in steps:
        name, _, left, sign, right = step.split()
        left, right = (int(values.get(part, part)) for part in (left, right))
        result = OPERATORS[sign](left, right)
        if result < 1 or (sign == "/" and left % right):
            return None
        values[name] = result
        lines.append(f"{words.get(name, name).replace('_', ' ')}: {left} {sign} {right} = {result}")
    return "\n".join(lines), str(result)
