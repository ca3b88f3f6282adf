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
  /// The epoch that was taken of the guest before; when it is done, the one that undoes it.
  public internal(set) var safetyEpoch: Int?
  /// What somebody should know when it is done.
  public private(set) var notes: [String] = []
  /// The guest, which stands still since then.
  var held: HeldGuest?
  /// The epoch that undoes it, as the guest's folder has it.
  private var wayBack: Int?

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
  ///
  /// - Throws: ``CheckpointError/interrupted`` as well.
  public func prepare(_ cancellation: TakeCancellation = TakeCancellation()) throws {
    lock = try folder.lock(.exclusive)
    let reader = try folder.open(epoch: epoch)
    manifest = reader.manifest
    try steps.step("verify") { try reader.verify(cancellation) }
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
    let names = (try? folder.overview())?.epochs.map(\.guest) ?? []
    saved = XendomainsSave().file(of: folder.uuid, called: name, before: Set(names))
    let newest = saved.flatMap { XendomainsSave.isOutdated($0, in: folder) ? nil : $0 }
    safety = try Safety(wanted: options.safety, guest: manifest.guest, running?.state, saved: newest)
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

  /// Destroys the old guest, turns its disks back and starts the epoch.
  ///
  /// - Throws: ``CheckpointError/restoreFailed(guest:epoch:message:safetyEpoch:disks:)`` when nothing runs afterwards.
  public func perform() throws -> Outcome {
    guard let stream else { return try failed("it was not prepared") }
    // Ended between the old guest's end and the new one's start, this would leave neither.
    let signals = HeldSignals()
    defer { signals.release() }
    if options.start != .nothing {
      try stream.requireOtherDisks(disks.pools)
      try stream.startOtherDisks(disks.pools)
    }
    try requireSameDomain()
    let users = try users
    // A pool that a neighbour has, that is full, or lost what it should have, is met here, where it costs nobody anything.
    let begun = try hasDisks ? disks.beginRollback(to: epoch, users: users) : nil
    // It loads while the old guest goes. A host that has no xl, or no room for another process, costs nobody.
    let restorer = options.start == .nothing ? nil : try XLRestore(paused: options.start == .paused)
    let record = try beginRecord()
    do { try endOld() } catch {
      switch Self.endFailure(error, isOldThere: isOldThere) {
      case .untouched:
        takeBack(record)
        throw error
      case .told: throw error
      case .gone:
        // What stands still may be another: the guest may have rebooted before its epoch was taken.
        try? held?.letGo()
        return try failed("\(error)")
      }
    }
    var rolledBack = DiskHistory.RolledBack()
    var wasTried = false
    do {
      if let begun { try steps.step("disks") { try begun.finish(&rolledBack, users: users.afterItsEnd) } }
      wasTried = restorer != nil
      if let restorer { try steps.step("start") { try restorer.feed(stream) } }
    } catch {
      // The newest content of the disks is worth more than a branch of an epoch that did not start.
      let fault = turnBack(rolledBack, afterStart: wasTried)
      // It did not run before either: all is as it was.
      if running == nil, fault == nil { takeBack(record) }
      return try failed("\(error)", disks: fault)
    }
    guard restorer != nil else {
      end(record)
      return Outcome(domain: nil, steps: steps.times)
    }
    guard let domain = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) else {
      let fault = hasDisks ? "ITS DISKS ARE AS IN EPOCH \(epoch): the guest has run on them" : nil
      return try failed("xl restore ended well but no such domain runs", disks: fault)
    }
    end(record)
    return Outcome(domain: domain.id, steps: steps.times)
  }

  private var hasDisks: Bool { manifest.disks.contains { $0.thinID != nil } }

  private var users: DiskUsers {
    get throws {
      guard let running else { return .nobody }
      return DiskUsers.guest(with: try GuestDevices(store, domain: running.id).disks())
    }
  }

  // MARK: The old guest

  /// It may have rebooted while somebody was asked.
  private func requireSameDomain() throws {
    guard let running, let now = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) else { return }
    guard now.id == running.id else { throw CheckpointError.cameBack(guest: manifest.guest, domain: now.id) }
  }

  private func endOld() throws {
    if let running { try steps.step("destroy") { try destroy(running) } }
    try requireGone()
  }

  private func destroy(_ old: Domain) throws {
    try requireStandingStill()
    try Command.run(["xl", "destroy", String(old.id)])
    if held?.wasLetGo == true, let safetyEpoch {
      note("the guest ran on for a moment before it was destroyed: what it did then is not in epoch \(safetyEpoch)")
    }
    try awaitGone(old)
    held?.wasDestroyed()
  }

  /// What it did since its epoch would be lost. Asked last: whatever came before took its time.
  private func requireStandingStill() throws {
    guard let held, let safetyEpoch, !held.holdOn() else { return }
    throw CheckpointError.ranOn(guest: manifest.guest, epoch: safetyEpoch)
  }

  /// What a failure to end the old guest comes to.
  enum EndFailure {
    /// Nothing was destroyed.
    case untouched
    /// It says itself what there is, or Xen does not.
    case told
    /// The guest is destroyed all the same.
    case gone
  }

  static func endFailure(_ error: any Error, isOldThere: Bool?) -> EndFailure {
    if isOldThere == true { return .untouched }
    switch error {
    case CheckpointError.backendsLinger, CheckpointError.cameBack: return .told
    default: return isOldThere == nil ? .told : .gone
    }
  }

  /// Nothing was destroyed: the old guest is there, or there was none. nil where Xen does not say.
  private var isOldThere: Bool? {
    guard let running else { return true }
    guard let domains = try? hypervisor.domains() else { return nil }
    return domains.contains { $0.id == running.id && $0.uuid == running.uuid && $0.state != .dying }
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

  // MARK: A start that failed

  /// - Parameter afterStart: the start failed; a domain that stands paused is what xl left of it.
  /// - Returns: what is wrong with the disks; nil when they are what the old guest left.
  private func turnBack(_ rolledBack: DiskHistory.RolledBack, afterStart: Bool) -> String? {
    do {
      guard let domain = try domainLeft(afterStart: afterStart) else {
        try disks.undo(rolledBack)
        return disks.remainder(of: rolledBack, epoch: epoch)
      }
      return disks.remainder(of: rolledBack, epoch: epoch, "domain \(domain.id) of this guest is there")
    } catch {
      return disks.remainder(of: rolledBack, epoch: epoch, "\(error)")
    }
  }

  /// Waits until there is no domain of the guest any more.
  ///
  /// - Returns: one that will not go.
  private func domainLeft(afterStart: Bool) throws -> Domain? {
    let end = ContinuousClock.now + .seconds(30)
    while let domain = try hypervisor.domains().first(where: { $0.uuid == folder.uuid }) {
      // xl destroys what it could not complete, unless it was killed; its last references take a moment to go.
      if afterStart, domain.state == .paused {
        try Command.run(["xl", "destroy", String(domain.id)])
      } else if domain.state != .dying {
        return domain
      }
      if ContinuousClock.now > end { break }
      usleep(20_000)
    }
    return nil
  }

  private func failed(_ message: String, disks: String? = nil) throws -> Outcome {
    throw CheckpointError.restoreFailed(
      guest: manifest.guest, epoch: epoch, message: ([message] + notes).joined(separator: "; "),
      safetyEpoch: wayBack, disks: disks)
  }

  // MARK: What is known of it

  /// What `ckpt undo` goes by, also after a restore that fails, and what tells of one that did not end.
  private func beginRecord() throws -> RollbackRecord {
    var reason = ""
    if safetyEpoch == nil, case .none(let why) = safety { reason = why }
    let rollback = Rollback(epoch: epoch, safetyEpoch: safetyEpoch, reason: reason, destroys: running != nil)
    let record = try RollbackRecord(rollback, in: folder)
    wayBack = record.rollback.wayBack
    return record
  }

  private func takeBack(_ record: RollbackRecord) {
    var record = record
    do { try record.takeBack() } catch { note("what `ckpt undo` went by before is not written back: \(error)") }
  }

  /// The guest is back whatever comes of this.
  private func end(_ record: RollbackRecord) {
    var record = record
    do { try record.end() } catch { return note(Self.noteOfUnwrittenEnd(error, hasDisks: hasDisks)) }
    safetyEpoch = record.rollback.wayBack
    // Not before: what stays takes room in the pool until the next restore, but may be the only copy.
    do { try disks.commitRollback() } catch { note("what its disks held before is not deleted yet: \(error)") }
  }

  static func noteOfUnwrittenEnd(_ error: any Error, hasDisks: Bool) -> String {
    "that the restore has ended is not written down: \(error); `ckpt recover` writes it down while the guest runs"
      + (hasDisks ? "; what its disks held before stays in the pool" : "")
  }

  private func note(_ text: String) {
    steps.tell(text)
    notes.append(text)
  }
}

extension EpochReader {
  /// - Throws: ``CheckpointError/interrupted``, and `StoreError`.
  fileprivate func verify(_ cancellation: TakeCancellation) throws {
    do throws(StoreError) {
      try verify(threads: EpochStore.processors, shouldStop: { cancellation.isCancelled })
    } catch {
      guard case .stopped = error else { throw error }
      throw CheckpointError.interrupted
    }
  }
}
