// Our guest module, loaded and unloaded as modprobe and rmmod would.
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool module_loaded;

void module_load(void) {
  int file = open("/modules/ckpt_suspend.ko", O_RDONLY | O_CLOEXEC);
  module_loaded = file >= 0 && !syscall(SYS_finit_module, file, "", 0);
  if (!module_loaded) say("probe: loading ckpt_suspend: %s", strerror(errno));
  if (file >= 0) close(file);
}

void module_unload(void) {
  module_loaded = syscall(SYS_delete_module, "ckpt_suspend", O_NONBLOCK) != 0;
  if (module_loaded) say("probe: unloading ckpt_suspend: %s", strerror(errno));
}
