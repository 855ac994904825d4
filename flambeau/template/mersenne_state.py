"""The block of memory in which a generator's state lies: offsets that Python and the kernels of ``mersenne.py`` share.

The names and numbers of the engine are those of M. Matsumoto and T. Nishimura, "Mersenne Twister" (1998), for MT19937.
"""

from __future__ import annotations

LENGTH = 624  # words of the state
DISTANCE = 397  # of the recurrence

# The state block, offsets in bytes.
WORDS = 0  # u32[624], the state; the 624 words after it are room for the next one
NEXT = 4 * LENGTH
OUTPUT = 8 * LENGTH  # u32[624], the state tempered: the numbers to be given out
POSITION = 12 * LENGTH  # i64, how many of them have been
STARTED = POSITION + 8  # i64, 0 from seeding to the first number
NORMAL = POSITION + 16  # double, the second normal of a pair
NORMAL_VALID = POSITION + 24  # i64, whether there is one
SEED = POSITION + 32  # u64, what the generator was seeded with
SINGLE = POSITION + 40  # float, only carried along: PyTorch's state has a place for a single-precision normal
STATE_BYTES = POSITION + 64
