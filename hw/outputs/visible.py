"""What may go to a display that obeys control sequences."""


def visible(line: str, columns: int) -> str:
    """At most `columns` characters, all of which can be seen: a control sequence in a peer's text becomes blanks."""
    return "".join(character if character.isprintable() else " " for character in line[:columns])
