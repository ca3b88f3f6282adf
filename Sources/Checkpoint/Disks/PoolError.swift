import Xen

/// What went wrong with a pool, where, and what to do about it.
public enum PoolError: Error, Equatable, CustomStringConvertible {
  case unknown(pool: String)
  case exists(pool: String)
  /// No pool, or more than one, and none was named.
  case noDefault(pools: [String])
  /// Another process changes the pool. Exit code 11.
  case locked(pool: String)
  /// A device is too small, busy, foreign or not a block device.
  case unusable(device: String, why: String)
  /// Below the reserve that keeps guests from I/O errors. Bytes.
  case nearlyFull(pool: String, what: String, have: UInt64, need: UInt64, command: String)
  /// The sizes do not fit; nothing was changed.
  case cannotGrow(pool: String, why: String)
  /// Disks, epochs or something that uses it stand in the way of its removal.
  case notEmpty(pool: String, what: String, command: String)
  /// Its removal was begun and did not come to its end.
  case beingRemoved(pool: String)
  /// Read-only, failed, out of data space, or its metadata needs a check.
  case unhealthy(pool: String, state: String, command: String)
  /// The pool's transaction id is neither ours nor the next: somebody else used it, or the device is another one.
  case foreignTransaction(pool: String, found: UInt64, expected: UInt64)
  /// A device of our name exists, made by somebody else or over other disks.
  case deviceTaken(device: String, why: String)
  /// The thin ids (or the pool's 24-bit clock) are used up, or will be by what was wanted.
  case exhausted(pool: String)
  case damaged(path: String, why: String)
  case io(operation: String, path: String, errno: Int32)

  public var description: String {
    switch self {
    case .unknown(let pool):
      "pool \(pool): there is none of this name; run: ckpt pool show"
    case .exists(let pool):
      "pool \(pool): exists already"
    case .noDefault(let pools) where pools.isEmpty:
      "no pool: make one first, in a volume group of LVM; run: ckpt pool create --vg GROUP --size 20%"
    case .noDefault(let pools):
      "more than one pool: name one with --pool (\(pools.joined(separator: ", ")))"
    case .locked(let pool):
      "pool \(pool): locked by another ckpt; try again when it is done"
    case .unusable(let device, let why):
      "\(device) cannot serve a pool: \(why)"
    case .nearlyFull(let pool, let what, let have, let need, let command):
      "pool \(pool): \(what) nearly full: \(mebibytes(have)) free, \(mebibytes(need)) needed; \(command)"
    case .cannotGrow(let pool, let why):
      "pool \(pool): cannot be enlarged: \(why)"
    case .notEmpty(let pool, let what, let command):
      "pool \(pool): cannot be removed: \(what); nothing was changed; \(command)"
    case .beingRemoved(let pool):
      "pool \(pool): its removal was begun; end it: ckpt pool remove \(pool)"
    case .unhealthy(let pool, let state, let command):
      "pool \(pool): \(state); \(command)"
    case .foreignTransaction(let pool, let found, let expected):
      "pool \(pool): transaction id is \(found), we left \(expected): another program used the pool, or its devices "
        + "are not ours; nothing was changed; compare `thin_ls` with catalog.json before anything else"
    case .deviceTaken(let device, let why):
      "device \(device): \(why); nothing was changed; if nobody needs what bears this name: dmsetup remove \(device), "
        + "then try again (ckpt pool start)"
    case .exhausted(let pool):
      "pool \(pool): its thin ids are used up, so no epoch is taken in it any more, and none restored; "
        + Self.wayToAnotherPool
    case .damaged(let path, let why):
      "\(path): damaged: \(why)"
    case .io(let operation, let path, let code):
      "\(operation) \(path): \(errnoText(code))"
    }
  }

  /// How guests leave a pool whose ids come to their end. Their epochs stay in it, for `ckpt export`.
  static let wayToAnotherPool =
    "make another pool (ckpt pool create), shut each guest down and copy its disks there, under another name: "
    + "ckpt disk create NEWNAME VDEV --from /dev/mapper/ckpt-GUEST-VDEV --pool NEW, and name the new ones in its "
    + "configuration; adopted disks instead: ckpt release GUEST, start it, ckpt adopt GUEST --pool NEW"
}

/// What went wrong with a guest's disk.
public enum DiskError: Error, Equatable, CustomStringConvertible {
  /// A writable disk that no pool of ours holds: an epoch of it is not possible.
  case notInPool(guest: String, vdev: String, path: String)
  /// The device is ours by name, but what the kernel runs is not what the catalogue says.
  case tableDiffers(device: String, found: String, expected: String)
  /// The pool does not have the disk's thin id any more, as after a repair of its metadata.
  case lost(device: String, pool: String, guest: String, vdev: String, isAdopted: Bool)
  case badName(String, why: String)
  case exists(device: String)
  /// A guest has no such disk.
  case unknown(disk: String)
  /// Something has the device open.
  case inUse(device: String)
  /// Epochs hold snapshots of the disk.
  case hasEpochs(guest: String, device: String, epochs: [Int])
  /// No pool has the epoch's disks; the guest as commands take it.
  case noSuchEpoch(guest: String, epoch: Int)
  /// The volume to roll back is gone or has another size.
  case cannotRollBack(device: String, why: String)
  /// `reserve`, `snapshot`, `commit` out of order.
  case outOfOrder(call: String)

  public var description: String {
    switch self {
    case .notInPool(let guest, let vdev, let path):
      "disk \(vdev) (\(path)) of \(guest) is not in a pool, so it cannot be part of an epoch; if it is a "
        + "volume of LVM, bring it in while the guest runs: ckpt adopt \(guest) \(vdev); else shut the guest down and copy it: "
        + "ckpt disk create \(guest) \(vdev) --from \(GuestDevices.path(in: path)), "
        + "then name the disk that this prints in the guest's configuration"
    case .tableDiffers(let device, let found, let expected):
      "disk \(device): the kernel runs '\(found)', the catalogue says '\(expected)'; nothing was changed; shut its "
        + "guest down, then have it made anew: dmsetup remove \(device), then ckpt pool start"
    case .lost(let device, let pool, let guest, let vdev, let isAdopted):
      "disk \(device): pool \(pool) has nothing of it any more, as after a repair of its metadata; bring its guest "
        + "back to an epoch: ckpt restore \(guest) EPOCH; or give the disk up: "
        + (isAdopted
          ? "ckpt release \(guest) \(vdev) --discard keeps the volume as it was adopted"
          : "ckpt disk remove \(guest) \(vdev)")
    case .badName(let name, let why):
      "'\(name)': \(why)"
    case .exists(let device):
      "disk \(device): exists already; see: ckpt disk list"
    case .unknown(let disk):
      "there is no disk \(disk); see: ckpt disk list"
    case .inUse(let device):
      "disk \(device): is in use; nothing was removed; destroy the guest first, or unmount it"
    case .hasEpochs(let guest, let device, let epochs):
      "disk \(device): epochs are restored to it; nothing was removed; remove them first: ckpt remove \(guest) "
        + epochs.map(String.init).joined(separator: " ")
    case .noSuchEpoch(let guest, let epoch):
      "guest \(guest): no pool has disks of epoch \(epoch): they were released or removed, or their pool is gone; "
        + "choose another epoch (ckpt list \(guest)), or remove this one: ckpt remove \(guest) \(epoch)"
    case .cannotRollBack(let device, let why):
      "disk \(device): cannot be rolled back: \(why)"
    case .outOfOrder(let call):
      "disks: \(call) was called out of order"
    }
  }
}

private func mebibytes(_ bytes: UInt64) -> String {
  let tenths = bytes / (1024 * 1024 / 10)
  return "\(tenths / 10).\(tenths % 10) MiB"
}
