// Block and loop ioctls: ioctl is variadic, and its request numbers are macros with casts; neither imports.
#ifndef CKPT_BLOCK_H
#define CKPT_BLOCK_H

#include <stdint.h>

// Each returns 0 or an errno.
int ckpt_block_size(int device, uint64_t *bytes);
int ckpt_block_sector_bytes(int device, int *bytes);  // of a logical block: the least that can be read or written
int ckpt_block_flush_buffers(int device);  // drops what dom0 cached of the device
int ckpt_block_discard(int device, uint64_t offset, uint64_t bytes);
int ckpt_loop_get_free(int control, int *number);
// Binds `file` to the loop device. EINVAL with direct_io when the file system cannot do direct I/O.
int ckpt_loop_configure(int loop, int file, int direct_io, const char *path);
int ckpt_loop_clear(int loop);
// The file behind it has another size than when it was bound.
int ckpt_loop_take_in_size(int loop);
// Device and inode of the file behind the loop device; ENXIO when it has none.
int ckpt_loop_backing(int loop, uint64_t *device, uint64_t *inode);

unsigned int ckpt_device_major(uint64_t device);
unsigned int ckpt_device_minor(uint64_t device);

#endif
