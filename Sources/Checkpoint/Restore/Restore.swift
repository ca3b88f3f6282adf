public import EpochStore
import Glibc
import MigrationStream
public import Xen

/// Brings a guest back to one of its epochs, in place: memory and disks of one instant.
///
/// ``prepare()`` changes nothing: it finds every reason not to begin while the old guest still runs. ``perform()`` destroys it.
/// Between the two, ``Engine/takeSafetyEpoch(before:options:memory:cancellation:report:)`` makes the way back.
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
  let folder: GuestFolder
  private let epoch: Int
  private let options: RestoreOptions
  private let steps: RestoreSteps
  private(set) var lock: FolderLock?
  private var stream: EpochStream?

  public private(set) var manifest: EpochManifest
  /// The running guest that will be destroyed, if there is one.
  public private(set) var running: Domain?
  private(set) var safety = Safety.none("it was not prepared")
  /// The file in which xendomains has the guest.
  private var saved: String?
  /// The epoch that was taken of the guest before.
  public internal(set) var safetyEpoch: Int?
  /// The guest, which stands still since then.
  var held: HeldGuest?

  /// - Throws: `StoreError.notFound` for an unknown epoch.
  public init(
    _ hypervisor: Hypervisor, _ store: XenStore, disks: DiskHistory, in folder: GuestFolder, epoch: Int,
    options: RestoreOptions = RestoreOptions(), report: @escaping (String) -> Void = { _ in }
  ) throws {
    self.hypervisor = hypervisor
    self.store = store
    self.disks = disks
    self.folder = folder
    self.epoch = epoch
    self.options = options
    steps = RestoreSteps(report)
    manifest = try folder.manifest(epoch)
  }

  /// Verifies the whole epoch and everything else that can be known before the old guest is touched.
  public func prepare() throws {
    lock = try folder.lock(.exclusive)
    let reader = try folder.open(epoch: epoch)
    manifest = reader.manifest
    try steps.step("verify") { try reader.verify(threads: EpochStore.processors) }
    let stream = try EpochStream(reader)
    self.stream = stream
    let domains = try hypervisor.domains()
    running = domains.first { $0.uuid == folder.uuid }
    let name = stream.config.name
    if let other = try domains.first(where: { try $0.uuid != folder.uuid && store.name(of: $0.id) == name }) {
      throw CheckpointError.nameTaken(
        guest: name, domain: other.id, uuid: other.uuid, hasEpochs: Namesakes.have(other.uuid, name, besides: folder),
        restored: folder.uuid)
    }
    if let running { try requireRoom(replacing: running) }
    try disks.check(epoch: epoch, expected: manifest.disks)
    if options.start != .nothing { try stream.requireOtherDisks(disks.pools) }
    saved = XendomainsSave().file(of: name)
    safety = try Safety(wanted: options.safety, guest: manifest.guest, running?.state, saved: saved)
  }

  /// What ``perform()`` will do. Call ``prepare()`` first.
  public var plan: RestorePlan {
    var plan = RestorePlan(manifest, start: options.start)
    plan.domain = running?.id
    (plan.disks, plan.warnings) = (manifest.disksInPlace, manifest.warningsInPlace)
    if let saved { plan.warnings.append(XendomainsSave.warning(saved)) }
    if case .none(let reason) = safety { plan.noSafetyReason = reason }
    plan.takesSafetyEpoch = safety == .take
    return plan
  }

  /// The old guest's memory comes free; together with what is free now the image must fit.
  private func requireRoom(replacing old: Domain) throws {
    let needed = manifest.imageBytes
    let available = try hypervisor.freeBytes() + old.pages * UInt64(EpochFormat.pageSize)
    guard needed <= available else {
      throw CheckpointError.hostFull(guest: manifest.guest, needed: needed, available: available)
    }
  }

  /// The guest that stands still since its safety epoch runs on, unless it was destroyed.
  ///
  /// - Throws: `XenError.resumeFailed`: it does not.
  public func letGo() throws {
    defer { held = nil }
    try held?.letGo()
    held?.awaitHook()
  }

  /// What it did since would be lost.
  private func requireStandingStill() throws {
    guard let held, let safetyEpoch, !held.standsStill else { return }
    throw CheckpointError.ranOn(guest: manifest.guest, epoch: safetyEpoch)
  }

  /// Destroys the old guest, turns its disks back and starts the epoch.
  ///
  /// - Throws: ``CheckpointError/restoreFailed(guest:epoch:message:safetyEpoch:disks:)`` when nothing runs afterwards.
  public func perform() throws -> Outcome {
    guard let stream else { return try failed("it was not prepared") }
    // Ended between the old guest's end and the new one's start, this would leave neither.
    let signals = HeldSignals()
    defer { signals.release() }
    let hasDisks = manifest.disks.contains { $0.thinID != nil }
    let users = try users
    if hasDisks { try disks.checkRollback(to: epoch, users: users) }
    if options.start != .nothing { try stream.requireOtherDisks(disks.pools) }
    // It loads while the old guest goes. A host that has no xl, or no room for another process, costs nobody.
    let restorer = options.start == .nothing ? nil : try XLRestore(paused: options.start == .paused)
    try requireStandingStill()
    try rememberRollback()
    if let running {
      try steps.step("destroy") {
        try Command.run(["xl", "destroy", String(running.id)])
        try awaitGone(running)
      }
      held?.wasDestroyed()
    }
    try requireGone()
    var rolledBack = DiskHistory.RolledBack()
    var wasTried = false
    do {
      if hasDisks {
        rolledBack = try steps.step("disks") { try disks.rollBack(to: epoch, users: users.afterItsEnd) }
      }
      wasTried = restorer != nil
      if let restorer { try steps.step("start") { try restorer.feed(stream) } }
    } catch {
      // The newest content of the disks is worth more than a branch of an epoch that did not start.
      return try failed("\(error)", disks: turnBack(rolledBack, afterStart: wasTried))
    }
    guard restorer != nil else {
      forgetNewest()
      return Outcome(domain: nil, steps: steps.times)
    }
    guard let domain = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) else {
      let disks = hasDisks ? "the guest has run on them" : nil
      return try failed("xl restore ended well but no such domain runs", disks: disks)
    }
    forgetNewest()
    return Outcome(domain: domain.id, steps: steps.times)
  }

  private var users: DiskUsers {
    get throws {
      guard let running else { return .nobody }
      return DiskUsers.guest(with: try GuestDevices(store, domain: running.id).disks())
    }
  }

  /// - Parameter afterStart: the start failed; a domain that stands paused is what xl left of it.
  /// - Returns: why the disks still show the epoch; nil when they do not.
  private func turnBack(_ rolledBack: DiskHistory.RolledBack, afterStart: Bool) -> String? {
    let end = ContinuousClock.now + .seconds(30)
    do {
      while let domain = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) {
        // xl destroys what it could not complete, unless it was killed; its last references take a moment to go.
        if afterStart, domain.state == .paused {
          try Command.run(["xl", "destroy", String(domain.id)])
        } else if domain.state != .dying {
          return "domain \(domain.id) of this guest is there"
        }
        if ContinuousClock.now > end { break }
        usleep(20_000)
      }
      try disks.undo(rolledBack)
      return nil
    } catch {
      return "\(error)"
    }
  }

  /// The guest is back whatever comes of this: what stays takes room in the pool until the next restore.
  private func forgetNewest() {
    do { try disks.commitRollback() } catch { steps.tell("what its disks held before is not deleted yet: \(error)") }
  }

  /// What `ckpt undo` goes by, also after a restore that fails.
  private func rememberRollback() throws {
    var reason = ""
    if safetyEpoch == nil, case .none(let why) = safety { reason = why }
    try folder.setLastRollback(Rollback(epoch: epoch, safetyEpoch: safetyEpoch, reason: reason))
  }

  private func failed(_ message: String, disks: String? = nil) throws -> Outcome {
    throw CheckpointError.restoreFailed(
      guest: manifest.guest, epoch: epoch, message: message, safetyEpoch: safetyEpoch, disks: disks)
  }

  /// A backend that still lives may still write: the disks must not be turned back under it.
  private func awaitGone(_ domain: Domain) throws {
    var devices = GuestDevices(store, domain: domain.id)
    let end = ContinuousClock.now + .seconds(30)
    while ContinuousClock.now < end {
      let isListed = try hypervisor.domains().contains { $0.id == domain.id && $0.uuid == domain.uuid }
      do { if !isListed, try devices.areGone() { return } } catch {
        // The guest is destroyed: a connection that is lost must not be the end of its restore.
        if let store = try? XenStore() { devices = GuestDevices(store, domain: domain.id) }
      }
      usleep(20_000)
    }
    throw CheckpointError.backendsLinger(guest: manifest.guest, domain: domain.id)
  }

  /// What xl left to watch a guest starts it anew when it reboots or crashes, under the same uuid, also while we destroy it.
  private func requireGone() throws {
    guard let domain = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) else { return }
    throw CheckpointError.cameBack(guest: manifest.guest, domain: domain.id)
  }
}
