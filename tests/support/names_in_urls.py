"""Names of logins and databases that can stand in a URL of the operator: what its parsers take from people.

What they refuse, or read as no name at all, never comes to be published.
"""

from hypothesis import strategies as st

from cipher_operator.api.names import MAX_NAME
from cipher_operator.api.reserved import DATABASES
from cipher_operator.core.connection.values import NO_DATABASE

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
LOGINS = TEXT.filter(lambda name: name.isprintable() and "://" not in name)
_NO_NAMES = {*DATABASES, NO_DATABASE}
DATABASE_NAMES = LOGINS.filter(lambda name: len(name.encode()) <= MAX_NAME and name not in _NO_NAMES)
