#include "CDeviceMapper.h"

#include <errno.h>
#include <linux/dm-ioctl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { log_level_warning = 4, text_size = 512 };

static _Thread_local char newest[text_size];
static _Thread_local char taken[text_size];

static void keep_message(int level, const char *file, int line, int error, const char *format, ...) {
  (void)file, (void)line, (void)error;
  // The low three bits are the level; the rest are flags (stderr, once).
  if ((level & 7) > log_level_warning) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(newest, sizeof newest, format, arguments);
  va_end(arguments);
}

void ckpt_dm_log_capture(void) { dm_log_with_errno_init(keep_message); }

const char *ckpt_dm_log_take(void) {
  memcpy(taken, newest, sizeof taken);
  newest[0] = 0;
  return taken;
}

// `sector` and `text` together are the kernel's dm_target_msg, spelled out because that ends in a flexible array.
struct buffer {
  struct dm_ioctl header;
  uint64_t sector;
  char text[128];
};
_Static_assert(offsetof(struct buffer, text) - offsetof(struct buffer, sector) == offsetof(struct dm_target_msg, message),
               "the message text must follow its sector as in dm_target_msg");

// The kernel writes its answer over the request (flags, uuid, device number), so each run starts from a copy.
struct ckpt_dm_call {
  unsigned long request;
  struct buffer prepared;
  struct buffer scratch;
};

static ckpt_dm_call *prepare(unsigned long request, const char *name, uint32_t flags, const char *message) {
  if (strlen(name) >= DM_NAME_LEN || (message && strlen(message) >= sizeof(((struct buffer *)0)->text)))
    return NULL;
  ckpt_dm_call *call = calloc(1, sizeof *call);
  if (!call) return NULL;
  call->request = request;
  struct dm_ioctl *header = &call->prepared.header;
  header->version[0] = 4;  // the interface all of this needs; the kernel accepts every older minor
  header->data_size = sizeof call->prepared;
  header->data_start = offsetof(struct buffer, sector);
  header->flags = flags;
  strcpy(header->name, name);
  if (message) strcpy(call->prepared.text, message);
  memcpy(&call->scratch, &call->prepared, sizeof call->scratch);
  return call;
}

ckpt_dm_call *ckpt_dm_call_suspend(const char *name) {
  return prepare(DM_DEV_SUSPEND, name, DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG, NULL);
}

// The same ioctl without DM_SUSPEND_FLAG resumes.
ckpt_dm_call *ckpt_dm_call_resume(const char *name) { return prepare(DM_DEV_SUSPEND, name, 0, NULL); }

ckpt_dm_call *ckpt_dm_call_clear(const char *name) { return prepare(DM_TABLE_CLEAR, name, 0, NULL); }

ckpt_dm_call *ckpt_dm_call_message(const char *name, const char *message) {
  return prepare(DM_TARGET_MSG, name, 0, message);
}

int ckpt_dm_call_run(int control, ckpt_dm_call *call) {
  memcpy(&call->scratch, &call->prepared, sizeof call->scratch);
  return ioctl(control, call->request, &call->scratch) < 0 ? errno : 0;
}

void ckpt_dm_call_free(ckpt_dm_call *call) { free(call); }

int ckpt_dm_arm_poll(int control) {
  struct dm_ioctl header = {.version = {4}, .data_size = sizeof header, .data_start = sizeof header};
  return ioctl(control, DM_DEV_ARM_POLL, &header) < 0 ? errno : 0;
}
