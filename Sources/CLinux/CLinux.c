#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "CLinux.h"

const int ckpt_O_DIRECT = O_DIRECT;
const int ckpt_O_TMPFILE = O_TMPFILE;
const int ckpt_FALLOC_FL_KEEP_SIZE = FALLOC_FL_KEEP_SIZE;
const int ckpt_FALLOC_FL_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE;
const int ckpt_F_SETPIPE_SZ = F_SETPIPE_SZ;
const int ckpt_TFD_FLAGS = TFD_CLOEXEC | TFD_NONBLOCK;
const int ckpt_TFD_UNTIL_SET = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;

int ckpt_eventfd(void) { return eventfd(0, EFD_CLOEXEC); }

int ckpt_spawn_close_from(void *actions, int lowest) {
  return posix_spawn_file_actions_addclosefrom_np(actions, lowest);
}
