public import EpochStore
import FoundationEssentials
import MigrationStream
import Xen

/// Starts an epoch as a guest of its own, beside the one that it was taken of: another name, uuid and MAC addresses, and disks that
/// are thin snapshots of the epoch's.
///
/// ``prepare()`` changes nothing, and neither step touches the original. Its folder is locked for readers only, so that clones of one
/// epoch can be made side by side; a take of it has to wait.
public final class Clone {
  private let hypervisor: Hypervisor
  private let store: XenStore
  private let disks: Disks
  private let folder: GuestFolder
  private let epoch: Int
  private let options: RestoreOptions
  private let steps: RestoreSteps
  private var lock: FolderLock?
  private var stream: EpochStream?
  private var restorer: XLRestore?

  public let name: String
  /// Of the clone.
  public let uuid = UUID().uuidString.lowercased()
  public private(set) var manifest: EpochManifest

  /// - Parameter restorer: nil when only the plan is wanted.
  /// - Throws: `StoreError.notFound` for an unknown epoch, ``CheckpointError/badName(_:_:)``.
  init(
    _ hypervisor: Hypervisor, _ store: XenStore, disks: Disks, in folder: GuestFolder, epoch: Int, as name: String,
    options: RestoreOptions, by restorer: XLRestore?, report: @escaping (String) -> Void
  ) throws {
    try GuestName.check(name)
    self.hypervisor = hypervisor
    self.store = store
    self.disks = disks
    self.folder = folder
    self.epoch = epoch
    self.name = name
    self.options = options
    self.restorer = restorer
    steps = RestoreSteps(report)
    manifest = try folder.manifest(epoch)
  }

  /// Finds out what can be known before something is made. The pages are not read here: each is proven on its way to xl, and there is
  /// no old guest that a damaged one could cost. Whether the memory fits is for xl to say, which can take some from dom0.
  public func prepare() throws {
    lock = try folder.lock(.shared)
    let reader = try folder.open(epoch: epoch)
    manifest = reader.manifest
    let stream = try EpochStream(reader)
    if let obstacle = stream.config.obstacleToClone ?? Self.obstacle(manifest) {
      throw CheckpointError.cannotClone(guest: manifest.guest, obstacle)
    }
    if let other = try hypervisor.domains().first(where: { try store.name(of: $0.id) == name }) {
      throw CheckpointError.nameTaken(
        guest: name, domain: other.id, uuid: other.uuid, hasEpochs: Namesakes.have(other.uuid, name, besides: folder),
        restored: nil)
    }
    try disks.checkClone(name, ofGuest: folder.uuid, epoch: epoch, expected: manifest.disks)
    try stream.requireOtherDisks(disks.pools)
    self.stream = stream
  }

  /// Two guests would write to a disk that the epoch has no snapshot of.
  static func obstacle(_ manifest: EpochManifest) -> String? {
    manifest.disks.first(where: \.isLeftOut).map {
      "epoch \(manifest.epoch) has no snapshot of its writable disk \($0.vdev) (it came from xl save)"
    }
  }

  /// What ``perform()`` will do. Call ``prepare()`` first.
  public var plan: RestorePlan {
    var plan = RestorePlan(manifest, start: options.start)
    (plan.clone, plan.cloneUUID) = (name, uuid)
    plan.disks = manifest.disks.map { disk in
      let path = disk.thinID == nil ? nil : try? "/dev/mapper/" + Disks.deviceName(guest: name, vdev: disk.vdev)
      return RestorePlan.Disk(
        vdev: disk.vdev, path: path ?? disk.device, pool: disk.pool, sizeBytes: disk.sizeBytes,
        fate: disk.thinID == nil ? .stays : .cloned)
    }
    plan.warnings = Self.warnings(of: manifest.guest, interfaces: stream?.config.interfaceCount ?? 0)
    return plan
  }

  /// Nothing that the guest's kernel and programs know is changed by a new configuration.
  static func warnings(of guest: String, interfaces: Int) -> [String] {
    var warnings = [
      "inside, the clone is still '\(guest)': hostname, machine-id, ssh host keys, file system uuids and all that programs "
        + "keep in memory are the original's"
    ]
    if interfaces > 0 {
      warnings.append(
        "it has \(interfaces) network interface\(interfaces == 1 ? "" : "s") on the same bridge with new MAC addresses, but "
          + "the IP addresses, leases and open connections of the original; start it with --paused to keep them apart "
          + "before it runs")
    }
    return warnings
  }

  /// Makes the disks and starts the clone.
  ///
  /// - Throws: ``CheckpointError/cloneFailed(clone:guest:epoch:message:leftDisks:)`` when it does not run; `StoreError` for an epoch
  ///   that turned out to be damaged, with nothing left of the clone.
  public func perform() throws -> Restore.Outcome {
    guard var stream, let restorer else { throw failed("it was not prepared", leftDisks: false) }
    self.restorer = nil
    // Ended half-way this would leave disks, or a domain that is not whole.
    let signals = HeldSignals()
    defer { signals.release() }
    try stream.startOtherDisks(disks.pools)
    var paths: [String: String] = [:]
    if manifest.disks.contains(where: { $0.thinID != nil }) {
      paths = try steps.step("disks") { try disks.clone(name, ofGuest: folder.uuid, epoch: epoch) }
    }
    do {
      let macs = (0..<stream.config.interfaceCount).map { _ in Self.randomMAC() }
      try stream.config.becomeClone(name: name, uuid: uuid, macs: macs, paths: paths)
      try steps.step("start") { try restorer.feed(stream) }
    } catch {
      var leftDisks = false
      // Only what was made here: somebody may have made other disks for a guest of that name.
      do { for vdev in paths.keys.sorted() { try disks.remove(guest: name, vdev: vdev) } } catch { leftDisks = true }
      if !leftDisks, error is StoreError { throw error }
      throw failed("\(error)", leftDisks: leftDisks)
    }
    guard let domain = try hypervisor.domains().first(where: { $0.uuid == uuid }) else {
      throw failed("xl restore ended well but no such domain runs", leftDisks: !paths.isEmpty)
    }
    return Restore.Outcome(domain: domain.id, steps: steps.times)
  }

  private func failed(_ message: String, leftDisks: Bool) -> CheckpointError {
    .cloneFailed(clone: name, guest: manifest.guest, epoch: epoch, message: message, leftDisks: leftDisks)
  }

  /// Of the range that Xen has, as libxl makes one: 00:16:3e and 23 random bits.
  static func randomMAC() -> String {
    let bytes = [0x00, 0x16, 0x3e, UInt8.random(in: 0...0x7f), .random(in: 0...0xff), .random(in: 0...0xff)]
    return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
