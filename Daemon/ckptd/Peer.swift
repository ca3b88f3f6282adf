import CLinux
import Glibc

/// Who is at the other end of a connection, as the kernel knows since it was made.
struct Peer: Equatable {
  let uid: uid_t
  /// The process's group and its others.
  let groups: [gid_t]

  init(uid: uid_t, groups: [gid_t]) { (self.uid, self.groups) = (uid, groups) }

  /// Nil when the kernel does not tell.
  init?(of socket: Int32) {
    var (uid, gid) = (uid_t(0), gid_t(0))
    // Linux allows no more (NGROUPS_MAX).
    var others = [gid_t](repeating: 0, count: 65536)
    let count = ckpt_peer_credentials(socket, &uid, &gid, &others, UInt32(others.count))
    guard count >= 0 else { return nil }
    self.init(uid: uid, groups: [gid] + others.prefix(Int(count)))
  }

  static func group(named name: String) -> gid_t? { getgrnam(name)?.pointee.gr_gid }
}

/// Who may ask.
struct Admission: Sendable {
  /// nil: there is no such group.
  let group: gid_t?
  /// The daemon's own user: root, but for trials.
  let user: uid_t

  /// Root, the daemon's own user, and members of the group ckpt.
  static var standard: Admission { Admission(group: Peer.group(named: ListeningSocket.group), user: geteuid()) }

  func admits(_ peer: Peer) -> Bool {
    peer.uid == 0 || peer.uid == user || group.map(peer.groups.contains) == true
  }
}
