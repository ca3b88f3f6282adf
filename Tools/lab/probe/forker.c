// Page tables in motion: children that map memory, fill it, change its protection, unmap a part, check the rest and end, one
// after the other without a break. An image in which a page table and its pages are of two moments breaks a child.
#include "probe.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { child_pages = 256 };

uint64_t forks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t mark(uint64_t seed, uint64_t page) { return (seed << 16 | page) * 0x9e3779b97f4a7c15; }

// Runs in the child of a process with threads: system calls only. False: memory was not what was written.
static bool live(uint64_t seed) {
  uint64_t *area = mmap(NULL, child_pages * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return true; // a small guest is full for the moment
  for (uint64_t page = 0; page < child_pages; page++) *(volatile uint64_t *)&area[page * 512] = mark(seed, page);
  mprotect(area, child_pages * page_size, PROT_READ);
  munmap(area, child_pages / 2 * page_size);
  for (uint64_t page = child_pages / 2; page < child_pages; page++)
    if (*(volatile uint64_t *)&area[page * 512] != mark(seed, page)) return false;
  return true;
}

static void *fork_on(void *unused) {
  for (;;) {
    pthread_mutex_lock(&lock);
    uint64_t seed = ++forks;
    pthread_mutex_unlock(&lock);
    pid_t child = fork();
    if (!child) _exit(live(seed) ? 0 : 1);
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) == child && status)
      found_fault(walk_fault, "child %lu ended with status %x", seed, status);
    if (child < 0) usleep(10000);
  }
  return unused;
}

void forker_start(void) {
  for (long i = 0; i < parameters.forks; i++) start_thread(fork_on, NULL);
}
