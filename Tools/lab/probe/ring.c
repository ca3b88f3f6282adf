// A ring of stamps. Memory knows which generation each slot must hold, so a disk that is older or younger than memory by a
// single stamp is found. Every check reads with O_DIRECT, which asks the disk itself and not the page cache (the cache is
// part of the memory image); a ring that is written through the cache is read through it too: both must agree.
#include "probe.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct slot {
  uint64_t magic, nonce[2], generation, walker_generation, walker_cursor, fill[506];
};
_Static_assert(sizeof(struct slot) == page_size, "a slot is a page");

enum { batch = 64 };
static const uint64_t magic = 0x6362702d626f7270;
static struct slot buffer[batch] __attribute__((aligned(page_size))); // guarded by the stamper's lock

static uint64_t filling(uint64_t generation, int word) { return generation * 0x9e3779b97f4a7c15 + word; }

// expected 0: this probe wrote nothing there yet; a stamp of an earlier guest on the same disk counts as blank.
static void judge_slot(const struct ring *ring, const struct slot *slot, uint64_t expected, const char *when) {
  bool ours = slot->magic == magic && !memcmp(slot->nonce, nonce, sizeof nonce);
  uint64_t found = ours ? slot->generation : 0;
  if (found != expected) {
    found_fault(stamp_fault, "%s %s holds stamp %lu, expected %lu (issued %lu, acked %lu)", ring->name, when, found,
                expected, ring->issued, ring->acked);
    return;
  }
  for (int i = 0; ours && i < 506; i++)
    if (slot->fill[i] != filling(expected, i)) {
      found_fault(stamp_fault, "%s %s stamp %lu is torn at word %d", ring->name, when, expected, i);
      return;
    }
}

static int64_t place(const struct ring *ring, uint64_t generation) {
  return ring->base + (int64_t)(generation % slot_count) * page_size;
}

static void expect(const struct ring *ring, uint64_t at, uint64_t expected, const char *when) {
  const int from[] = {ring->direct, ring->cached};
  for (int i = 0; i < 2; i++) {
    if (from[i] < 0) continue;
    if (pread(from[i], buffer, page_size, place(ring, at)) != page_size)
      found_fault(stamp_fault, "%s %s read of stamp %lu: %s", ring->name, when, at, strerror(errno));
    else
      judge_slot(ring, buffer, expected, i ? "in the cache" : when);
  }
}

void ring_stamp(struct ring *ring, uint64_t generation) {
  // A disk from a later moment than memory already holds this stamp.
  expect(ring, generation, generation > slot_count ? generation - slot_count : 0, "before stamping");

  struct slot *slot = buffer;
  *slot = (struct slot){magic, {nonce[0], nonce[1]}, generation, walker.generation, walker.cursor, {0}};
  for (int i = 0; i < 506; i++) slot->fill[i] = filling(generation, i);
  ring->issued = generation;
  int file = ring->cached < 0 ? ring->direct : ring->cached;
  if (pwrite(file, slot, page_size, place(ring, generation)) != page_size ||
      (ring->cached >= 0 && fdatasync(ring->cached)))
    found_fault(stamp_fault, "%s writing stamp %lu: %s", ring->name, generation, strerror(errno));
  ring->acked = generation;

  // A disk from an earlier moment lacks one of the older stamps.
  if (generation < 2) return;
  uint64_t span = generation - 1 < slot_count - 1 ? generation - 1 : slot_count - 1;
  uint64_t older = generation - 1 - ring->turn++ % span;
  expect(ring, older, older, "looking back");
}

void ring_check(struct ring *ring) {
  for (uint64_t first = 0; first < slot_count; first += batch) {
    if (pread(ring->direct, buffer, sizeof buffer, ring->base + first * page_size) != sizeof buffer) {
      found_fault(stamp_fault, "%s reading slots from %lu on: %s", ring->name, first, strerror(errno));
      continue;
    }
    for (uint64_t index = first; index < first + batch; index++) {
      uint64_t age = (ring->acked - index) % slot_count; // of the youngest stamp that belongs there
      judge_slot(ring, &buffer[index - first], ring->acked > age ? ring->acked - age : 0, "full check");
    }
  }
}
