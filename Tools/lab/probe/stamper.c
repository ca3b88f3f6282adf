// The stamper writes numbered stamps to all disks in turn, to a ring with O_DIRECT and to a ring through the page cache on each:
// stamp k goes to disk A, then to disk B, so that A is never more than one stamp ahead of B.
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct disk {
  char name[8], folder[32]; // folder: where its file system is mounted; empty for a raw disk
  struct ring rings[2];
};

pthread_mutex_t stamper_lock = PTHREAD_MUTEX_INITIALIZER;
uint64_t stamps;

static struct disk disks[most_disks];
static int disk_count;

static const int64_t ring_size = (int64_t)slot_count * page_size;

static int open_or_die(const char *path, int flags) {
  int file = open(path, flags | O_CLOEXEC, 0644);
  if (file < 0) die("%s: %s", path, strerror(errno));
  return file;
}

// Blocks are allocated once, so that a stamp in a file is an overwrite like one on a raw disk.
static void lay_out_file(const char *path) {
  static char zeroes[1 << 16];
  int file = open_or_die(path, O_RDWR | O_CREAT | O_TRUNC);
  for (int64_t at = 0; at < ring_size; at += sizeof zeroes)
    if (pwrite(file, zeroes, sizeof zeroes, at) != sizeof zeroes) die("%s: %s", path, strerror(errno));
  if (fsync(file)) die("%s: %s", path, strerror(errno));
  close(file);
}

static void open_rings(struct disk *disk, const char *device) {
  for (int cached = 0; cached < 2; cached++) {
    struct ring *ring = &disk->rings[cached];
    char path[64];
    snprintf(ring->name, sizeof ring->name, "%s-%s", disk->name, cached ? "cached" : "direct");
    snprintf(path, sizeof path, "%s", device);
    if (disk->folder[0]) {
      snprintf(path, sizeof path, "%s/%s", disk->folder, cached ? "cached" : "direct");
      lay_out_file(path);
    } else {
      ring->base = cached * ring_size;
    }
    ring->direct = open_or_die(path, O_RDWR | O_DIRECT);
    ring->cached = cached ? open_or_die(path, O_RDWR) : -1;
  }
}

static bool holds_ext4(const char *device) {
  unsigned char magic[2] = {0};
  int file = open_or_die(device, O_RDONLY);
  bool yes = pread(file, magic, 2, 1024 + 56) == 2 && magic[0] == 0x53 && magic[1] == 0xef;
  close(file);
  return yes;
}

// A guest that was destroyed between a file's appearance and its rename leaves the temporary name to the next one on this disk.
static void clear_temporary(const struct disk *disk) {
  char temporary[64];
  snprintf(temporary, sizeof temporary, "%s/temporary", disk->folder);
  if (unlink(temporary) && errno != ENOENT) die("%s: %s", temporary, strerror(errno));
}

static void open_disk(const char *name) {
  char device[32], path[64], flag = '0';
  snprintf(device, sizeof device, "/dev/%s", name);
  snprintf(path, sizeof path, "/sys/block/%s/ro", name);
  int file = open_or_die(path, O_RDONLY);
  if (read(file, &flag, 1) != 1) die("%s: %s", path, strerror(errno));
  close(file);
  if (flag == '1') return;

  struct disk *disk = &disks[disk_count++];
  snprintf(disk->name, sizeof disk->name, "%s", name);
  if (holds_ext4(device)) {
    snprintf(disk->folder, sizeof disk->folder, "/disk-%s", name);
    mkdir(disk->folder, 0755);
    if (mount(device, disk->folder, "ext4", 0, NULL)) die("mounting %s: %s", device, strerror(errno));
    clear_temporary(disk);
  }
  open_rings(disk, device);
}

// Work for the file system's journal: a file appears under a temporary name, gets its real one, and an older one goes.
static void shuffle_files(const struct disk *disk, uint64_t generation) {
  char temporary[64], name[64], old[64];
  snprintf(temporary, sizeof temporary, "%s/temporary", disk->folder);
  snprintf(name, sizeof name, "%s/file-%lu", disk->folder, generation);
  snprintf(old, sizeof old, "%s/file-%lu", disk->folder, generation - 32);
  int file = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  bool fine = file >= 0 && write(file, &generation, sizeof generation) == sizeof generation && !rename(temporary, name);
  if (fine && generation > 32) fine = !unlink(old);
  if (!fine) found_fault(stamp_fault, "%s: files of stamp %lu: %s", disk->name, generation, strerror(errno));
  if (file >= 0) close(file);
}

static void *stamp_on(void *unused) {
  struct pace pace;
  pace_start(&pace, 1000000000 / parameters.stamps);
  for (;; pace_wait(&pace)) {
    pthread_mutex_lock(&stamper_lock);
    for (int i = 0; i < disk_count; i++) {
      ring_stamp(&disks[i].rings[0], stamps + 1);
      ring_stamp(&disks[i].rings[1], stamps + 1);
      if (disks[i].folder[0]) shuffle_files(&disks[i], stamps + 1);
    }
    stamps++;
    pthread_mutex_unlock(&stamper_lock);
  }
  return unused;
}

bool stamper_check(bool every_slot) {
  // A disk that hangs keeps the lock: that is an answer too, and must not hang the answer.
  struct timespec deadline;
  clock_gettime(CLOCK_MONOTONIC, &deadline);
  deadline.tv_sec += 5;
  if (pthread_mutex_clocklock(&stamper_lock, CLOCK_MONOTONIC, &deadline)) return false;
  for (int i = 0; every_slot && i < disk_count; i++) {
    ring_check(&disks[i].rings[0]);
    ring_check(&disks[i].rings[1]);
  }
  pthread_mutex_unlock(&stamper_lock);
  return true;
}

int stamper_describe(char *text, int size) {
  int length = snprintf(text, size, "disks=%d acked=", disk_count);
  for (int i = 0; i < disk_count; i++)
    length += snprintf(text + length, size - length, "%s%s:%lu", i ? "," : "", disks[i].name, disks[i].rings[1].acked);
  return length;
}

void stamper_start(void) {
  for (long i = 0; i < parameters.disks && i < most_disks; i++) {
    char name[8], device[32];
    snprintf(name, sizeof name, "xvd%c", (char)('a' + i));
    snprintf(device, sizeof device, "/dev/%s", name);
    for (int wait = 0; access(device, F_OK); wait++) { // the frontend connects in its own time
      if (wait == 600) die("%s did not appear", device);
      usleep(100000);
    }
    open_disk(name);
  }
  if (disk_count && parameters.stamps) start_thread(stamp_on, NULL);
}
