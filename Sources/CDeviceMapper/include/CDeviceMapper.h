// libdevmapper, and the little of it that Swift cannot call as it is.
#ifndef CKPT_CDEVICEMAPPER_H
#define CKPT_CDEVICEMAPPER_H

#include <stdint.h>
#include <libdevmapper.h>

// libdevmapper's log callback is variadic, which Swift cannot write. Errors and warnings are kept, the newest
// per thread, instead of going to stderr.
void ckpt_dm_log_capture(void);
// The newest error text of this thread ("" when there is none), then forgets it.
const char *ckpt_dm_log_take(void);

// Flexible array members do not import.
static inline const char *ckpt_dm_names_name(const struct dm_names *names) { return names->name; }
static inline const char *ckpt_dm_versions_name(const struct dm_versions *versions) { return versions->name; }

// One device-mapper ioctl, built beforehand. dm_task_run allocates, and shares a list of node operations and a
// descriptor with every other user of the library in this process; the pause needs a call that does neither.
// The layout is the kernel's (linux/dm-ioctl.h).
typedef struct ckpt_dm_call ckpt_dm_call;
ckpt_dm_call *ckpt_dm_call_suspend(const char *name);  // noflush, skip lockfs
ckpt_dm_call *ckpt_dm_call_resume(const char *name);
ckpt_dm_call *ckpt_dm_call_clear(const char *name);  // drops a loaded table
ckpt_dm_call *ckpt_dm_call_message(const char *name, const char *message);  // to sector 0
int ckpt_dm_call_run(int control, ckpt_dm_call *call);  // 0 or an errno
void ckpt_dm_call_free(ckpt_dm_call *call);

// A poll(2) on the control descriptor returns for events of any device that come after this. 0 or an errno.
int ckpt_dm_arm_poll(int control);

#endif
