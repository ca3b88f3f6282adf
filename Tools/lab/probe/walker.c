// The walker goes through its area page by page and writes the number of the lap into each. At every moment the pages
// before the cursor hold this lap, the others the last one: an image put together from two moments breaks the rule.
#include "probe.h"
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

struct walker walker;

static uint64_t *area;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool wanted; // a question waits for the lock: the walker stands back

static const int words[] = {0, 170, 341, 511};

static uint64_t mark(uint64_t generation, uint64_t page) { return generation << 24 ^ page; }

static void judge_page(uint64_t page, uint64_t generation, const char *when) {
  for (int i = 0; i < 4; i++) {
    uint64_t found = area[page * 512 + words[i]], expected = mark(generation, page);
    if (found == expected) continue;
    found_fault(walk_fault, "%s page %lu word %d holds generation %lu (raw %lx), expected %lu, cursor at %lu", when, page,
                words[i], (found ^ page) >> 24, found, generation, walker.cursor);
    return;
  }
}

static void write_page(uint64_t page, uint64_t generation) {
  for (int i = 0; i < 4; i++) *(volatile uint64_t *)&area[page * 512 + words[i]] = mark(generation, page);
}

static void walk(uint64_t pages) {
  for (; pages; pages--) {
    judge_page(walker.cursor, walker.generation - 1, "walking:");
    write_page(walker.cursor, walker.generation);
    if (++walker.cursor < walker.pages) continue;
    walker.cursor = 0;
    walker.generation++;
  }
}

static void *walk_on(void *unused) {
  // In slices of 10 ms. With rate 0 as fast as possible.
  uint64_t slice = parameters.rate ? (parameters.rate * 256 + 99) / 100 : 512;
  struct pace pace;
  pace_start(&pace, 10000000);
  for (;;) {
    struct timespec moment = {0, 1000000};
    while (wanted) nanosleep(&moment, NULL);
    pthread_mutex_lock(&lock);
    walk(slice);
    pthread_mutex_unlock(&lock);
    if (parameters.rate) pace_wait(&pace);
  }
  return unused;
}

void walker_check(void) {
  wanted = true;
  pthread_mutex_lock(&lock);
  for (uint64_t page = 0; page < walker.pages; page++)
    judge_page(page, page < walker.cursor ? walker.generation : walker.generation - 1, "scan:");
  pthread_mutex_unlock(&lock);
  wanted = false;
}

void walker_start(void) {
  walker = (struct walker){.generation = 2, .cursor = 0, .pages = parameters.area * 256};
  area = mmap(NULL, walker.pages * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) die("an area of %ld MiB: %s", parameters.area, strerror(errno));
  madvise(area, walker.pages * page_size, MADV_DONTFORK); // forker.c's children need no copy
  for (uint64_t page = 0; page < walker.pages; page++) write_page(page, 1);
  start_thread(walk_on, NULL);
}
