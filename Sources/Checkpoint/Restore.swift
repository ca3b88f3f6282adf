public import EpochStore
import Glibc
import MigrationStream
public import Xen

/// Brings a guest back to one of its epochs, in place: memory and disks of one instant.
///
/// ``init(_:_:in:epoch:)`` and ``prepare()`` change nothing: they find every reason not to begin while the old guest
/// still runs. ``perform()`` destroys it.
public final class Restore {
  /// How long the steps took, and what now runs.
  public struct Outcome: Sendable {
    /// nil when it was not to be started.
    public let domain: UInt32?
    /// Milliseconds per step, in order.
    public let steps: [(name: String, milliseconds: Double)]
  }

  private let hypervisor: Hypervisor
  private let store: XenStore
  private let disks: DiskHistory
  private let folder: GuestFolder
  private let epoch: Int
  private let report: (String) -> Void
  private var lock: FolderLock?
  private var stream: EpochStream?
  private var steps: [(name: String, milliseconds: Double)] = []

  public private(set) var manifest: EpochManifest
  /// The running guest that will be destroyed, if there is one.
  public private(set) var running: Domain?

  /// - Throws: `StoreError.notFound` for an unknown epoch.
  public init(
    _ hypervisor: Hypervisor, _ store: XenStore, disks: DiskHistory, in folder: GuestFolder, epoch: Int,
    report: @escaping (String) -> Void = { _ in }
  ) throws {
    self.hypervisor = hypervisor
    self.store = store
    self.disks = disks
    self.folder = folder
    self.epoch = epoch
    self.report = report
    manifest = try folder.manifest(epoch)
  }

  /// Verifies the whole epoch and everything else that can be known before the old guest is touched.
  public func prepare() throws {
    lock = try folder.lock(.exclusive)
    let reader = try folder.open(epoch: epoch)
    manifest = reader.manifest
    try step("verify") { try reader.verify(threads: Take.processors) }
    let stream = try EpochStream(reader)
    self.stream = stream
    let domains = try hypervisor.domains()
    running = domains.first { $0.uuid == folder.uuid }
    let name = stream.config.name
    if let other = domains.first(where: { $0.uuid != folder.uuid && store.name(of: $0.id) == name }) {
      throw CheckpointError.nameTaken(guest: name, domain: other.id)
    }
    if let running { try requireRoom(replacing: running) }
    try disks.check(epoch: epoch, expected: manifest.disks)
  }

  /// The old guest's memory comes free; together with what is free now the image must fit.
  private func requireRoom(replacing old: Domain) throws {
    let needed = UInt64(manifest.pages + manifest.zeroPages) * UInt64(EpochFormat.pageSize)
    let available = try hypervisor.freeBytes() + old.pages * UInt64(EpochFormat.pageSize)
    guard needed <= available else {
      throw CheckpointError.hostFull(guest: manifest.guest, needed: needed, available: available)
    }
  }

  /// Destroys the old guest, turns its disks back and starts the epoch.
  ///
  /// - Parameter start: false leaves the start to somebody else, who has the epoch's memory from
  ///   ``Engine/export(_:epoch:to:)``.
  /// - Throws: ``CheckpointError/restoreFailed(guest:epoch:message:)`` when nothing runs afterwards.
  public func perform(start: Bool = true) throws -> Outcome {
    guard let stream else { return try failed("it was not prepared") }
    if let running {
      try step("destroy") {
        try Command.run(["xl", "destroy", String(running.id)])
        try awaitGone(running)
      }
    }
    do {
      if manifest.disks.contains(where: { $0.thinID != nil }) {
        try step("disks") { try disks.rollBack(to: epoch) }
      }
      if start { try step("start") { try feed(stream) } }
    } catch {
      // The newest content of the disks is worth more than a branch of an epoch that did not start.
      _ = try? disks.undoRollback()
      return try failed("\(error)")
    }
    guard start else {
      try disks.commitRollback()
      return Outcome(domain: nil, steps: steps)
    }
    guard let domain = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) else {
      return try failed("xl restore ended well but no such domain runs")
    }
    try disks.commitRollback()
    return Outcome(domain: domain.id, steps: steps)
  }

  private func failed(_ message: String) throws -> Outcome {
    throw CheckpointError.restoreFailed(guest: manifest.guest, epoch: epoch, message: message)
  }

  private func step(_ name: String, _ body: () throws -> Void) throws {
    report(name)
    let start = ContinuousClock.now
    try body()
    steps.append((name, (ContinuousClock.now - start).milliseconds))
  }

  /// A backend that still lives may still write: the disks must not be turned back under it.
  private func awaitGone(_ domain: Domain) throws {
    let devices = GuestDevices(store, domain: domain.id)
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      let isListed = try hypervisor.domains().contains { $0.id == domain.id && $0.uuid == domain.uuid }
      if !isListed, devices.areGone { return }
      usleep(20_000)
    }
    throw CheckpointError.backendsLinger(guest: manifest.guest, domain: domain.id)
  }

  /// Feeds `xl restore` through a pipe; it makes devices, store and console as for any saved guest.
  private func feed(_ stream: EpochStream) throws {
    let arguments = ["xl", "restore", "/dev/stdin"]
    let child = try Child(arguments)
    let fed = Result {
      var writer = StreamWriter(DescriptorSink(child.input))
      try stream.write(to: &writer)
    }
    let ended = try child.wait()
    guard ended.status == 0 else {
      throw CheckpointError.tool(
        command: arguments.joined(separator: " "), status: ended.status, message: Command.firstLines(ended.errors))
    }
    try fed.get()
  }
}
