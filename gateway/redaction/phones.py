"""
Phone numbers, by the tables of libphonenumber.

Of the library's judgements the weaker one is asked: whether a number can be one by its length and prefix. Whether it is
one that was given out would let through what a recogniser misheard by one digit. The library is loaded when it is used
first (20 ms).
"""

SHORTEST, LONGEST = 7, 15
"""Digits; below it the plans know only numbers of one town."""


def is_phone(digits: str, region: str, *, is_international: bool) -> bool:
    """
    Whether this can be somebody's phone number.

    Args:
        digits: 0-9 only.
        region: ISO 3166 code of the country whose numbers come without a country code.
        is_international: a plus sign was before it.
    """
    if not SHORTEST <= len(digits) <= LONGEST:
        return False
    import phonenumbers

    try:
        number = phonenumbers.parse(f"+{digits}" if is_international else digits, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_possible_number(number)
