"""How people read numbers and addresses aloud, one table per language."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """
    Words in lower case.

    Args:
        units: single digits, word → digit.
        weak: those of `units` that are other words, too: they make no number by themselves.
        teens: 10 to 19, and other words for two digits that take no unit after them.
        tens: 20, 30 … 90; a unit that follows is part of the number.
        scales: words that make a quantity, and the zeros that they stand for within a number read aloud.
        repeats: words that say the next digit several times.
        fillers: may stand between the digits of a number.
        links: may stand within a quantity.
        months: before a day and a year.
        measures: words after a quantity that is no secret: money and shares.
        secrets: words before a number that is one, even if it looks like a year.
        at, dot, joiners: the parts of an e-mail address; `joiners` within its names, besides `dot`.
        not_names: words before `at` that begin no address.
    """

    units: Mapping[str, str]
    weak: frozenset[str]
    teens: Mapping[str, str]
    tens: Mapping[str, str]
    scales: Mapping[str, str]
    repeats: Mapping[str, int]
    fillers: frozenset[str]
    links: frozenset[str]
    months: frozenset[str]
    measures: frozenset[str]
    secrets: frozenset[str]
    at: frozenset[str]
    dot: frozenset[str]
    joiners: frozenset[str]
    not_names: frozenset[str]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _numbered(text: str, first: int, step: int = 1) -> dict[str, str]:
    return {word: str(first + step * place) for place, word in enumerate(text.split())}


ENGLISH = Language(
    units=_numbered("zero one two three four five six seven eight nine", 0)
    | {"oh": "0", "o": "0", "nought": "0", "naught": "0", "niner": "9"},
    weak=_words("oh o"),
    teens=_numbered(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
        10,
    ),
    tens=_numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10) | {"fourty": "40"},
    scales={"hundred": "00", "thousand": "000", "million": "000000", "billion": "000000000"},
    repeats={"double": 2, "triple": 3, "treble": 3, "quadruple": 4},
    fillers=_words("uh um er erm ah hmm dash hyphen space slash then"),
    links=_words("and"),
    months=_words(
        "january february march april may june july august september october november december"
        " jan feb mar apr jun jul aug sep sept oct nov dec"
    ),
    measures=_words(
        "dollar dollars buck bucks euro euros pound pounds quid cent cents pence percent rupees yen francs"
        " usd eur gbp chf inr"
    ),
    secrets=_words(
        "pin code passcode password security cvv cvc cvv2 csc card account ssn social routing digits number id"
        " verification otp iban"
    ),
    at=_words("at"),
    dot=_words("dot point period"),
    joiners=_words("underscore dash hyphen minus plus"),
    not_names=_words(
        "look looks looked looking see seen shop shopping shopped buy bought order ordered pay paid sign signed find"
        " found is are was were be been it us up out available online here there work works worked working read"
        " posted sold sells hosted listed log logged store stores website site page or and but so then because"
    ),
)

_GERMAN_UNITS = "null eins zwei drei vier fünf sechs sieben acht neun"
_GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"


def _german_pairs() -> dict[str, str]:
    """Einundzwanzig to neunundneunzig: one word each."""
    units = ["ein", *_GERMAN_UNITS.split()[2:]]
    tens = [*_GERMAN_TENS.split(), "dreissig"]
    values = [*range(20, 100, 10), 30]
    return {
        f"{unit}und{ten}": str(value + number)
        for ten, value in zip(tens, values, strict=True)
        for number, unit in enumerate(units, 1)
    }


GERMAN = Language(
    units=_numbered(_GERMAN_UNITS, 0) | {"zwo": "2", "fuenf": "5"},
    weak=frozenset(),
    teens=_numbered(
        "zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn",
        10,
    )
    | _numbered(_GERMAN_TENS, 20, 10)
    | {"dreissig": "30"}
    | _german_pairs(),
    tens={},  # the unit comes first, in one word
    scales={"hundert": "00", "tausend": "000", "million": "000000", "millionen": "000000"},
    repeats={"doppel": 2, "doppelt": 2, "zweimal": 2, "dreimal": 3},
    fillers=_words("äh ähm hm strich bindestrich dann"),
    links=_words("und"),
    months=frozenset(),  # the year does not follow the day
    measures=_words("euro euros cent franken dollar prozent"),
    secrets=_words("pin code geheimzahl passwort prüfnummer kartennummer kontonummer nummer karte konto ziffern iban"),
    at=_words("at ät"),
    dot=_words("punkt"),
    joiners=_words("unterstrich strich bindestrich minus plus"),
    not_names=_words("schau schauen gekauft bestellt bei ist auf von"),
)

LANGUAGES: Mapping[str, Language] = {"en": ENGLISH, "de": GERMAN}


def merged(codes: Iterable[str]) -> Language:
    """One table of several languages; where two know a word, the first one says what it means."""
    tables = [LANGUAGES[code] for code in codes]
    parts: dict[str, Any] = {}
    for field in fields(Language):
        values = [getattr(table, field.name) for table in tables]
        if isinstance(values[0], frozenset):
            parts[field.name] = frozenset().union(*values)
        else:
            parts[field.name] = {word: value for each in reversed(values) for word, value in each.items()}
    return Language(**parts)
