"""Names and texts as SQL writes them."""


def identifier(name: str) -> str:
    """A name, in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text, in single quotes."""
    return "'" + text.replace("'", "''") + "'"
