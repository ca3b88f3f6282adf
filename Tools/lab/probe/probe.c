// Start, heartbeat, questions and answers.
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

struct parameters parameters = {.area = 64, .rate = 8, .stamps = 20, .freeze_timeout = 2000};
uint64_t nonce[2], fault_counts[fault_kinds];
char first_fault[256] = "none";
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

void say(const char *format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line - 1, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length++] = '\n';
  // Does not block: a console nobody reads must not stop the probe.
  if (write(STDOUT_FILENO, line, length) < 0) return;
}

void die(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  for (;;) { // the first process must not end
    say("probe: cannot go on: %s", line);
    sleep(5);
  }
}

void found_fault(enum fault kind, const char *format, ...) {
  pthread_mutex_lock(&fault_lock);
  bool first = !fault_counts[walk_fault] && !fault_counts[stamp_fault];
  fault_counts[kind]++;
  if (first) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(first_fault, sizeof first_fault, format, arguments);
    va_end(arguments);
    for (char *c = first_fault; *c; c++)
      if (*c == ' ') *c = '_'; // the answer is a line of words
  }
  pthread_mutex_unlock(&fault_lock);
  if (first) say("probe: first fault: %s", first_fault);
}

int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

void pace_start(struct pace *pace, int64_t period) { *pace = (struct pace){now(), period}; }

void pace_wait(struct pace *pace) {
  pace->next += pace->period;
  if (pace->next < now() - 10 * pace->period) pace->next = now() + pace->period;
  struct timespec time = {pace->next / 1000000000, pace->next % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR) {}
}

void start_thread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  int error = pthread_create(&thread, NULL, body, argument);
  if (error) die("pthread_create: %s", strerror(error));
}

// Parameters stand on the kernel command line as probe.NAME=NUMBER.
static void read_parameters(void) {
  const struct { const char *name; long *value; } known[] = {
      {"probe.area=", &parameters.area},     {"probe.rate=", &parameters.rate},
      {"probe.stamps=", &parameters.stamps}, {"probe.busy=", &parameters.busy},
      {"probe.disks=", &parameters.disks},   {"probe.forks=", &parameters.forks},
      {"probe.module=", &parameters.module}, {"probe.refuse_suspend=", &parameters.refuse_suspend},
      {"probe.ignore_suspend=", &parameters.ignore_suspend},
      {"probe.freeze_timeout=", &parameters.freeze_timeout},
  };
  char line[4096] = "";
  int file = open("/proc/cmdline", O_RDONLY);
  if (read(file, line, sizeof line - 1) < 0) die("/proc/cmdline: %s", strerror(errno));
  close(file);
  for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
      if (!strncmp(word, known[i].name, strlen(known[i].name)))
        *known[i].value = strtol(word + strlen(known[i].name), NULL, 0);
}

static void *be_busy(void *unused) {
  for (volatile uint64_t turns = 0;; turns++) {}
  return unused;
}

// A question is any new text in data/ask. "quick…" asks for a sign of life, "load…" and "unload…" for that and for the guest
// module to come or go, "do:WORD-…" for a deed of the hostile module, all else for a check of everything.
static void answer_question(void) {
  static char last[64];
  static unsigned long answers;
  char question[64], answer[1024], disks[512];
  if (!xenstore_read("data/ask", question, sizeof question) || !*question || !strcmp(question, last)) return;
  strcpy(last, question);

  bool load = !strncmp(question, "load", 4), unload = !strncmp(question, "unload", 6);
  if (load) module_load();
  if (unload) module_unload();
  bool deed = !strncmp(question, "do:", 3), done = false;
  if (deed) {
    char word[64];
    strcpy(word, question + 3);
    word[strcspn(word, "-")] = 0;
    done = do_deed(word);
  }
  walker_check();
  bool checked = stamper_check(!load && !unload && !deed && strncmp(question, "quick", 5) != 0);
  stamper_describe(disks, sizeof disks);
  snprintf(answer, sizeof answer,
           "%s nonce=%016lx%016lx uptime=%ld gen=%lu cursor=%lu walk_errors=%lu stamps=%lu stamp_errors=%lu stuck=%d "
           "forks=%lu module=%d done=%d answers=%lu %s first_error=%s",
           question, nonce[0], nonce[1], now() / 1000000000, walker.generation, walker.cursor, fault_counts[walk_fault],
           stamps, fault_counts[stamp_fault], !checked, forks, module_loaded, done, ++answers, disks,
           first_fault);
  if (!xenstore_write("data/answer", answer)) last[0] = 0; // ask ourselves again
}

int main(void) {
  fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
  read_parameters();
  // GRND_INSECURE: the guest may be too young for good randomness; different from the last start is enough.
  if (getrandom(nonce, sizeof nonce, GRND_INSECURE) != sizeof nonce) die("getrandom: %s", strerror(errno));
  nonce[0] ^= (uint64_t)now() * 0x9e3779b97f4a7c15;

  walker_start();
  stamper_start();
  forker_start();
  if (parameters.module) module_load();
  for (long i = 0; i < parameters.busy; i++) start_thread(be_busy, NULL);
  if (parameters.refuse_suspend) refuse_suspend();
  // The kernel of such a guest was told not to set up its shutdown handler (see Tests/Lab/lib.sh). It claims to have one.
  if (parameters.ignore_suspend) xenstore_write("control/feature-suspend", "1");

  struct pace pace;
  pace_start(&pace, 50000000);
  for (uint64_t turn = 0;; turn++, pace_wait(&pace)) {
    answer_question();
    if (turn % 20 == 0)
      say("probe: beat %lu gen=%lu cursor=%lu walk_errors=%lu stamps=%lu stamp_errors=%lu", turn / 20, walker.generation,
          walker.cursor, fault_counts[walk_fault], stamps, fault_counts[stamp_fault]);
  }
}
