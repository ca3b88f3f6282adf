import DeviceMapper
import EpochStore

extension HostFacts {
  var storeFindings: [Finding] {
    let path = store.path
    guard store.exists else {
      return [Finding(.ok, .store, of: path, "\(path) is not there yet, the first pool or take makes it")]
    }
    guard isRoot else { return [] }
    if store.isReadOnly {
      return unreadableFindings + [
        Finding(
          .problem, .store, of: path, "\(path) is on a file system that is mounted read-only",
          fix: "mount -o remount,rw $(findmnt -n -o TARGET -T \(path))")
      ]
    }
    let faults = unreadableFindings + accessFindings + spaceFindings
    return faults.isEmpty ? [Finding(.ok, .store, of: path, "\(path): \(room)")] : faults
  }

  private var unreadableFindings: [Finding] {
    if let trouble = store.trouble { return [Finding(.problem, .store, of: store.path, told: trouble)] }
    return status.unreadable.map { Finding(.problem, .store, of: $0.path, told: "\($0.error)") }
  }

  /// Whoever reads an epoch reads the guest's memory.
  private var accessFindings: [Finding] {
    let path = store.path
    var findings: [Finding] = []
    if store.owner != 0 {
      findings.append(
        Finding(
          .problem, .store, of: path, "\(path) is not root's but of uid \(store.owner)", fix: "chown root: \(path)"))
    }
    if store.mode & 0o077 != 0 {
      findings.append(
        Finding(
          .problem, .store, of: path, "others than root can enter \(path) (mode \(String(store.mode, radix: 8)))",
          fix: "chmod 0700 \(path)"))
    }
    if store.exposed > 0 {
      findings.append(
        Finding(
          .warning, .store, of: path, "\(store.exposed) files in \(path) are not root's alone",
          fix: "chmod -R go= \(path)"))
    }
    return findings
  }

  private var spaceFindings: [Finding] {
    // Of what could not be looked at there is nothing to judge.
    guard store.trouble == nil else { return [] }
    let (space, limits) = (status.store.fileSystem, status.store.limits)
    let prune = "ckpt prune --keep-last 12 --dry-run, then without --dry-run"
    if space.free <= limits.hostReserve {
      return [
        Finding(
          .problem, .store, of: store.path,
          "\(room); takes leave \(ByteCount.text(limits.hostReserve)) free (host-reserve), so none is made", fix: prune)
      ]
    }
    if let quota = limits.storeQuota, status.store.used >= quota {
      return [
        Finding(
          .problem, .store, of: store.path,
          "its epochs use \(ByteCount.text(status.store.used)) of a store-quota of \(ByteCount.text(quota))", fix: prune
        )
      ]
    }
    var findings: [Finding] = []
    if space.free < space.total / 10 { findings.append(Finding(.warning, .store, of: store.path, room, fix: prune)) }
    // Only takes make it, and only when there is room.
    if !store.hasReserve, status.guests.contains(where: { $0.epochs > 0 }) {
      findings.append(
        Finding(
          .warning, .store, of: store.path, "its reserve for a full file system is missing",
          fix: "make room; the next take sets it aside"))
    }
    return findings
  }

  private var room: String {
    let space = status.store.fileSystem
    return "\(ByteCount.text(space.free)) of \(ByteCount.text(space.total)) free"
  }

  var poolFindings: [Finding] {
    guard isRoot else { return [] }
    let troubles = status.unknown.filter { $0.hasPrefix("pool") }.map { Finding(.problem, .pools, told: $0) }
    guard hasPools else {
      return [
        Finding(
          .warning, .pools, "no pool; epochs need the guests' disks in one",
          fix: "ckpt pool create --vg GROUP --size 20%")
      ]
    }
    return troubles + status.pools.flatMap(findings)
  }

  private func findings(_ pool: PoolReport) -> [Finding] {
    if let problem = pool.problem { return [Finding(.problem, .pools, of: pool.name, told: problem)] }
    guard let state = pool.status, let room = pool.room else {
      return [Finding(.problem, .pools, of: pool.name, "pool \(pool.name) is not active", fix: "ckpt pool start")]
    }
    let use = "pool \(pool.name): data \(room.dataPercent) %, metadata \(room.metadataPercent) % used"
    if let watermark = status.store.limits.poolWatermark, room.reachesWatermark(of: status.store.limits) {
      return [
        Finding(
          .problem, .pools, of: pool.name, "\(use); from \(watermark) % on no epoch is taken (pool-watermark)",
          fix: "prune epochs, or \(pool.growth)")
      ]
    }
    guard !room.warnings.isEmpty else { return [Finding(.ok, .pools, of: pool.name, "\(use), \(state.mode.rawValue)")] }
    return room.warnings.map { Finding(.warning, .pools, of: pool.name, told: $0) }
  }

  var lvmFindings: [Finding] {
    // Without a disk of ours there is nothing that LVM could look into.
    guard let lvm, !volumes.isEmpty else { return [] }
    let seen = volumes.filter(lvm.looksInto)
    guard let first = seen.first?.first else { return [Finding(.ok, .lvm, "LVM leaves guests' disks alone")] }
    return [
      Finding(
        .warning, .lvm,
        "LVM looks for volume groups inside \(seen.count) guests' disks (\(first)), and may open what it finds",
        fix:
          "in /etc/lvm/lvm.conf, before all other patterns: devices { global_filter = [ \"r|^/dev/mapper/ckpt-|\" ] }")
    ]
  }
}
