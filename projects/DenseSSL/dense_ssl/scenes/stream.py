"""Random draws that are the same on every platform and with every numpy.

Only two primitives of numpy are used, whose streams never changed: ``SeedSequence`` with raw 64-bit
PCG64 words, and ``Generator.random`` (53 bits of one such word). Every draw returns a plain Python
number: numpy 1 and 2 then agree that an array of float32 stays float32.
"""

import numpy as np


class Stream:
    """One stream of random numbers per key, a tuple of integers in [0, 2**32)."""

    def __init__(self, *key):
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))

    def uniform(self, low, high):
        """A float in [low, high)."""
        return low + (high - low) * self._rng.random()

    def integer(self, low, high):
        """An int in [low, high], both included."""
        return low + int(self._rng.random() * (high + 1 - low))

    def chance(self, probability):
        """True with the given probability."""
        return self._rng.random() < probability

    def sign(self):
        """-1.0 or 1.0."""
        return 1.0 if self.chance(0.5) else -1.0

    def choose(self, options):
        """One element of a sequence."""
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, items):
        """A shuffled list of ``items``."""
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.integer(0, last)
            items[last], items[other] = items[other], items[last]
        return items

    def octets(self, *shape):
        """uint8 array of ``shape``, uniform in [0, 255]."""
        count = int(np.prod(shape))
        words = self._rng.bit_generator.random_raw((count + 7) // 8)
        # Little-endian whatever the machine, so that the order of the bytes is one and the same.
        return words.astype("<u8").view(np.uint8)[:count].reshape(shape)
