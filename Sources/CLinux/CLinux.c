#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>

#include "CLinux.h"

const int ckpt_O_DIRECT = O_DIRECT;
const int ckpt_FALLOC_FL_KEEP_SIZE = FALLOC_FL_KEEP_SIZE;
const int ckpt_FALLOC_FL_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE;
const int ckpt_F_SETPIPE_SZ = F_SETPIPE_SZ;

int ckpt_spawn_close_from(void *actions, int lowest) {
  return posix_spawn_file_actions_addclosefrom_np(actions, lowest);
}
