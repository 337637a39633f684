"""A piece: one gap of the emulator, and what mends it."""

import logging
from dataclasses import dataclass
from typing import Callable

logger = logging.getLogger("loadbearing")


@dataclass(frozen=True)
class Piece:
    """One mended gap."""

    gap: str  # what the upstream release lacks, in one line
    missing: Callable[[], bool]  # whether it still lacks it
    mend: Callable[[], None]

    def apply(self) -> bool:
        """Mend the gap, or say that upstream has no such gap any more."""
        if not self.missing():
            logger.warning("not needed any more, delete it: %s", self.gap)
            return False
        self.mend()
        logger.info("mended: %s", self.gap)
        return True
