// xenstore over /dev/xen/xenbus: the wire protocol of xen/include/public/io/xs_wire.h, one request at a time.
// Relative paths belong to our own domain, whatever its number is today; that is why they survive a restore.
#include "probe.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

struct header { uint32_t type, request, transaction, length; };
enum { type_read = 2, type_write = 11, type_error = 16, most_payload = 4096 };

static int bus = -1;
static uint32_t last_request;

static bool receive(void *bytes, uint32_t length) {
  for (char *to = bytes; length;) {
    struct pollfd ready = {.fd = bus, .events = POLLIN};
    if (poll(&ready, 1, 10000) <= 0) return false;
    ssize_t got = read(bus, to, length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    length -= got;
  }
  return true;
}

// Sends a request and leaves the payload of its answer in `reply`; the payload's length, or -1.
static int exchange(uint32_t type, const void *payload, uint32_t length, char reply[most_payload + 1]) {
  struct { struct header header; char payload[most_payload]; } message;
  message.header = (struct header){type, ++last_request, 0, length};
  memcpy(message.payload, payload, length);
  if (write(bus, &message, sizeof message.header + length) != (ssize_t)(sizeof message.header + length)) return -1;
  struct header header;
  do { // an answer to an older request that we gave up on may come first
    if (!receive(&header, sizeof header) || header.length > most_payload || !receive(reply, header.length)) return -1;
  } while (header.request != last_request);
  reply[header.length] = 0;
  return header.type == type_error ? -2 : (int)header.length;
}

static int ask(uint32_t type, const void *payload, uint32_t length, char reply[most_payload + 1]) {
  if (bus < 0) bus = open("/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
  if (bus < 0) return -1;
  int result = exchange(type, payload, length, reply);
  if (result == -1) { // out of step: start over with a new connection
    close(bus);
    bus = -1;
  }
  return result;
}

bool xenstore_read(const char *path, char *value, int size) {
  static char reply[most_payload + 1];
  int length = ask(type_read, path, strlen(path) + 1, reply);
  if (length < 0 || length >= size) return false;
  memcpy(value, reply, length + 1);
  return true;
}

bool xenstore_write(const char *path, const char *value) {
  static char reply[most_payload + 1];
  char request[most_payload];
  size_t name = strlen(path) + 1, length = strlen(value);
  if (name + length > sizeof request) return false;
  memcpy(request, path, name);
  memcpy(request + name, value, length);
  return ask(type_write, request, name + length, reply) >= 0;
}
