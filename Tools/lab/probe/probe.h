// The probe guest: one process whose memory, disks and console show whether a restore was right.
// It writes patterns that depend on one another all the time, checks them all the time, and answers questions from dom0.
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { page_size = 4096, slot_count = 1024, most_disks = 8 };

struct parameters {
  long area, rate, stamps, busy, disks, forks, module, refuse_suspend, ignore_suspend, freeze_timeout;
};
extern struct parameters parameters;

// Lives only in memory: a guest that started anew cannot pass for a restored one.
extern uint64_t nonce[2];

// What was found wrong. Never reset, so that a fault before a checkpoint is not blamed on the restore.
enum fault { walk_fault, stamp_fault, fault_kinds };
extern uint64_t fault_counts[fault_kinds];
extern char first_fault[256];
void found_fault(enum fault kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void start_thread(void *(*body)(void *), void *argument);

// Work at a steady rate by the monotonic clock. What could not be done in time is dropped, not caught up with.
struct pace { int64_t next, period; };
void pace_start(struct pace *pace, int64_t period_in_nanoseconds);
void pace_wait(struct pace *pace);
int64_t now(void);

// walker.c
struct walker { uint64_t generation, cursor, pages; };
extern struct walker walker;
void walker_start(void);
void walker_check(void);

// stamper.c
extern pthread_mutex_t stamper_lock;
extern uint64_t stamps;
void stamper_start(void);
bool stamper_check(bool every_slot); // false: a disk does not answer, nothing was checked
int stamper_describe(char *text, int size);

// ring.c: a ring of slots on a disk or in a file; the stamp with generation k lies in slot k % slot_count.
struct ring {
  char name[32];
  int direct, cached; // two descriptors of the same bytes; 'cached' is -1 for a ring written with O_DIRECT
  int64_t base;
  uint64_t issued, acked, turn;
};
void ring_stamp(struct ring *ring, uint64_t generation);
void ring_check(struct ring *ring);

// xenstore.c: false when there is no such node or xenstored does not answer.
bool xenstore_read(const char *path, char *value, int size);
bool xenstore_write(const char *path, const char *value);

// suspend.c
void refuse_suspend(void);

// forker.c
extern uint64_t forks;
void forker_start(void);

// module.c: our guest module (Tools/guest-module). A failure is told on the console, and by `module=0` in answers.
extern bool module_loaded;
void module_load(void);
void module_unload(void);
// A deed of the hostile module, by its word. False when it failed.
bool do_deed(const char *word);
