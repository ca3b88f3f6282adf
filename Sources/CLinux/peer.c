#define _GNU_SOURCE
#include <sys/socket.h>

#include "ckpt_peer.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

int ckpt_peer_credentials(int descriptor, uid_t *uid, gid_t *gid, gid_t *groups, unsigned int room) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -1;
  *uid = peer.uid;
  *gid = peer.gid;
  length = room * sizeof *groups;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0) return -1;
  return (int)(length / sizeof *groups);
}
