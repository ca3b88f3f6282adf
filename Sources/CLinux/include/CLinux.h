// Linux calls that Swift's Glibc module hides (built without _GNU_SOURCE). The header must not define
// _GNU_SOURCE itself: two modules would then disagree about libc's types.
#ifndef CKPT_CLINUX_H
#define CKPT_CLINUX_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "ckpt_block.h"
#include "ckpt_peer.h"

extern const int ckpt_O_DIRECT;
extern const int ckpt_O_TMPFILE;
extern const int ckpt_FALLOC_FL_KEEP_SIZE;
extern const int ckpt_FALLOC_FL_PUNCH_HOLE;
extern const int ckpt_F_SETPIPE_SZ;
extern const int ckpt_TFD_FLAGS;  // close-on-exec, non-blocking
extern const int ckpt_TFD_UNTIL_SET;  // absolute, ends when the clock is set

int ckpt_eventfd(void);  // close-on-exec; -1 and errno when there is none
int fallocate(int descriptor, int mode, off_t offset, off_t length);
int memfd_create(const char *name, unsigned int flags);
int pidfd_open(pid_t process, unsigned int flags);
int pipe2(int descriptors[2], int flags);
int timerfd_create(int clock, int flags);
int timerfd_settime(int timer, int flags, const struct itimerspec *new_value, struct itimerspec *old_value);
int sync_file_range(int descriptor, off_t offset, off_t length, unsigned int flags);

// `actions` is a posix_spawn_file_actions_t: the child closes every descriptor from `lowest` on. 0 or an errno.
int ckpt_spawn_close_from(void *actions, int lowest);

#endif
