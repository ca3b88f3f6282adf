"""Sets one page of the probe's walker back by one lap in a saved image: what a checkpoint that missed a write would hold.

tear-image.py IMAGE TORN. Finds pages by the walker's rule (Tools/lab/probe/walker.c): words 0, 170, 341 and 511 of page p
hold generation << 24 ^ p. Nothing of the image's format is needed: a page lies in it as it is, at no particular alignment.
"""

import shutil
import struct
import sys

WORDS = (0, 170, 341, 511)
SAMPLE = 300  # a page far enough from the cursor of most laps; any page would do


def pages(image):
    """Offsets of all copies of page SAMPLE, with the generation that each holds."""
    low = bytes([SAMPLE & 0xFF, SAMPLE >> 8, 0])
    at = image.find(low)
    while at >= 0:
        words = [image[at + 8 * w : at + 8 * w + 8] for w in WORDS]
        value = int.from_bytes(words[0], "little")
        if len(words[3]) == 8 and words.count(words[0]) == 4 and 1 <= value >> 24 < 1 << 20:
            if value & 0xFFFFFF == SAMPLE:
                yield at, value >> 24
        at = image.find(low, at + 1)


with open(sys.argv[1], "rb") as file:
    image = file.read()
found = list(pages(image))
if not found:
    sys.exit("no page of the walker in the image")
shutil.copyfile(sys.argv[1], sys.argv[2])
with open(sys.argv[2], "r+b") as file:
    for at, generation in found:
        for word in WORDS:
            file.seek(at + 8 * word)
            file.write(struct.pack("<Q", (generation - 1) << 24 ^ SAMPLE))
