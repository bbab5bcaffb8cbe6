"""
Write the expectations of golden conversations anew: `python -m tests.support.rewrite_conversations [DIALECT…]`.

Review the difference before it is committed: it is the change of behaviour.
"""

import json
import sys

from tests.support.conversations import conversations


def main(dialects: list[str]) -> None:
    for dialect in dialects or ["*"]:
        for conversation in conversations(dialect):
            records = [json.dumps(record) for record in conversation.play()]
            conversation.expectations_path.write_text("".join(f"{record}\n" for record in records))
            print(f"{conversation}: {len(records)}")


if __name__ == "__main__":
    main(sys.argv[1:])
