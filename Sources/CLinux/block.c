#define _GNU_SOURCE
#include "ckpt_block.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

static int result(int value) { return value < 0 ? errno : 0; }

int ckpt_block_size(int device, uint64_t *bytes) { return result(ioctl(device, BLKGETSIZE64, bytes)); }

int ckpt_block_sector_bytes(int device, int *bytes) { return result(ioctl(device, BLKSSZGET, bytes)); }

int ckpt_block_flush_buffers(int device) { return result(ioctl(device, BLKFLSBUF, 0)); }

int ckpt_block_discard(int device, uint64_t offset, uint64_t bytes) {
  uint64_t range[2] = {offset, bytes};
  return result(ioctl(device, BLKDISCARD, range));
}

int ckpt_loop_get_free(int control, int *number) {
  *number = ioctl(control, LOOP_CTL_GET_FREE);
  return result(*number);
}

int ckpt_loop_configure(int loop, int file, int direct_io, const char *path) {
  struct loop_config config = {.fd = (uint32_t)file};
  config.info.lo_flags = direct_io ? LO_FLAGS_DIRECT_IO : 0;
  snprintf((char *)config.info.lo_file_name, sizeof config.info.lo_file_name, "%s", path);
  return result(ioctl(loop, LOOP_CONFIGURE, &config));
}

int ckpt_loop_clear(int loop) { return result(ioctl(loop, LOOP_CLR_FD, 0)); }

int ckpt_loop_take_in_size(int loop) { return result(ioctl(loop, LOOP_SET_CAPACITY, 0)); }

int ckpt_loop_backing(int loop, uint64_t *device, uint64_t *inode) {
  struct loop_info64 info;
  memset(&info, 0, sizeof info);
  if (ioctl(loop, LOOP_GET_STATUS64, &info) < 0) return errno;
  *device = info.lo_device;
  *inode = info.lo_inode;
  return 0;
}

unsigned int ckpt_device_major(uint64_t device) { return major(device); }
unsigned int ckpt_device_minor(uint64_t device) { return minor(device); }
