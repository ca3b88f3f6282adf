// Who is at the other end of a Unix socket: `struct ucred` needs _GNU_SOURCE, and SO_PEERGROUPS is in no header of glibc's.
#ifndef CKPT_PEER_H
#define CKPT_PEER_H

#include <sys/types.h>

// Returns the number of further groups written to `groups`, which has room for `room`, or -1.
int ckpt_peer_credentials(int descriptor, uid_t *uid, gid_t *gid, gid_t *groups, unsigned int room);

#endif
