"""LocalStack 4.13 names KMS keys with uuid.uuid5(namespace, bytes), which Python takes from 3.12 on.

Python loads this module at start; before 3.12 it makes uuid5 take bytes too.
"""

import sys
import uuid
from hashlib import sha1

if sys.version_info < (3, 12):
    _uuid5 = uuid.uuid5

    def uuid5(namespace, name):
        if isinstance(name, bytes):
            digest = sha1(namespace.bytes + name, usedforsecurity=False).digest()
            return uuid.UUID(bytes=digest[:16], version=5)
        return _uuid5(namespace, name)

    uuid.uuid5 = uuid5
