"""
What is one word to the search, in texts and in what is typed alike.

SQLite's tokenizer takes a run of letters for a word. Chinese, Japanese, Thai, Lao, Burmese and Khmer are written
without spaces, so a whole sentence would be one, and nothing in the middle of it would ever be found; Korean glues
particles to its words. There every character becomes a word by itself, and what is typed a row of them.

Sources: Unicode 15, Blocks.txt; sqlite.org/fts5.html, section 4.3.1 (read 2026-11).
"""

import re
import unicodedata

_ALONE = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3031-\u3035\u3040-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3100-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\uac00-\ud7a3"  # Korean
    "]"
)


def parted(text: str) -> str:
    """The text with spaces between its words; signs of another width, and those made of parts, are alike in it."""
    return _ALONE.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))
