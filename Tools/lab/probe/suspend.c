// A guest that acknowledges a suspend request and then cannot follow it.
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// The kernel reads our own memory for us (process_vm_readv) and meets a page that only a userfaultfd handler could supply.
// That wait is killable but not interruptible, so the freezer cannot freeze this thread and gives the suspend up.
static void *never_freeze(void *page) {
  char byte;
  struct iovec to = {&byte, 1}, from = {page, 1};
  process_vm_readv(getpid(), &to, 1, &from, 1, 0);
  return NULL;
}

void refuse_suspend(void) {
  int file = open("/sys/power/pm_freeze_timeout", O_WRONLY);
  if (file < 0 || dprintf(file, "%ld", parameters.freeze_timeout) < 0) die("pm_freeze_timeout: %s", strerror(errno));
  close(file);

  void *page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int handler = syscall(SYS_userfaultfd, O_CLOEXEC);
  struct uffdio_api api = {.api = UFFD_API};
  struct uffdio_register range = {.range = {(uintptr_t)page, page_size}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (handler < 0 || ioctl(handler, UFFDIO_API, &api) || ioctl(handler, UFFDIO_REGISTER, &range))
    die("userfaultfd: %s", strerror(errno));
  start_thread(never_freeze, page);
}
