"""The one schema in the words of both engines."""

import re

import pytest

from relay.spool import schema

STATEMENTS = {name: value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)} | {
    f"step {step}, {number}": text for step, texts in enumerate(schema.MIGRATIONS) for number, text in enumerate(texts)
}


@pytest.mark.parametrize("dialect", [schema.SQLITE, schema.POSTGRESQL], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", STATEMENTS)
def test_no_word_of_the_other_engine_is_left(name: str, dialect: schema.Dialect) -> None:
    text = dialect.translate(STATEMENTS[name])

    assert not re.search(r"[{}]", text)
    assert ("?" in text) <= (dialect is schema.SQLITE)
    assert ("%" in text) <= (dialect is schema.POSTGRESQL)
    assert text.count(dialect.placeholder) == STATEMENTS[name].count("?")


def test_the_engines_differ_where_they_must() -> None:
    assert schema.POSTGRESQL.translate(schema.CLAIMABLE).endswith("LIMIT %s FOR UPDATE SKIP LOCKED")
    assert "BYTEA" in schema.POSTGRESQL.translate(schema.MIGRATIONS[0][6])
    assert schema.SQLITE.translate(schema.CLAIMABLE).rstrip().endswith("LIMIT ?")
