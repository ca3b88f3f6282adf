// Our guest module, loaded and unloaded as modprobe and rmmod would; and the hostile one (Tools/lab/hostile).
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool module_loaded;

static bool load(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  bool fine = file >= 0 && !syscall(SYS_finit_module, file, "", 0);
  if (!fine) say("probe: loading %s: %s", path, strerror(errno));
  if (file >= 0) close(file);
  return fine;
}

void module_load(void) { module_loaded = load("/modules/ckpt_suspend.ko"); }

void module_unload(void) {
  module_loaded = syscall(SYS_delete_module, "ckpt_suspend", O_NONBLOCK) != 0;
  if (module_loaded) say("probe: unloading ckpt_suspend: %s", strerror(errno));
}

bool do_deed(const char *word) {
  static bool loaded;
  if (!loaded) loaded = load("/modules/ckpt_hostile.ko");
  int file = open("/sys/module/ckpt_hostile/parameters/deed", O_WRONLY | O_CLOEXEC);
  ssize_t length = strlen(word);
  bool done = file >= 0 && write(file, word, length) == length;
  if (!done) say("probe: deed %s: %s", word, strerror(errno));
  if (file >= 0) close(file);
  return done;
}
