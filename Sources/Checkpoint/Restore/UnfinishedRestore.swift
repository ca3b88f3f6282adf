import EpochStore
import Xen

/// A restore in place that was cut off, or failed, after it had destroyed the guest. The guest does not run.
public struct UnfinishedRestore: Hashable, Sendable, CustomStringConvertible {
  /// As commands take it.
  public var guest: String
  public var epoch: Int
  /// There is an epoch of what the guest was before.
  public var canBeUndone: Bool

  public init(guest: String, epoch: Int, canBeUndone: Bool) {
    (self.guest, self.epoch, self.canBeUndone) = (guest, epoch, canBeUndone)
  }

  /// nil when the guest's last restore has ended, or another process is at work on the guest.
  init?(_ folder: GuestFolder) {
    guard folder.lockHolder == nil, let last = try? folder.unendedRollback() else { return nil }
    self.init(guest: Self.name(of: folder), epoch: last.epoch, canBeUndone: last.wayBack != nil)
  }

  /// The guest's name where that means it in the store, else its uuid.
  private static func name(of folder: GuestFolder) -> String {
    guard let name = try? folder.overview().name, !name.isEmpty, let store = try? EpochStore(path: folder.storePath),
      (try? store.find(name))?.uuid == folder.uuid
    else { return folder.uuid }
    return name
  }

  public var what: String { "the restore of \(guest) to epoch \(epoch) did not end" }
  /// The next command, and what it costs: only who was there knows whether the guest was started since.
  public var fix: String {
    "ckpt restore \(guest) \(epoch)"
      + (canBeUndone ? ", or ckpt undo \(guest)" : ", which gives up what its disks held before: no epoch has that")
      + "; if it was started since, start it again instead: what its disks hold now would be lost"
  }
  public var description: String { "\(what): \(fix)" }
}

extension Domain.State {
  /// The guest is not there any more, nor will it go on: what is left of it.
  var isEnded: Bool {
    switch self {
    case .shutdown, .crashed, .dying: true
    case .running, .paused, .suspended: false
    }
  }
}

extension Engine {
  /// Writes down of each guest that runs that its last restore has ended, whoever started it: see
  /// ``unfinishedRestores(of:present:running:)``. For a service that stays, now and then: one who starts a guest tells nobody. Does nothing
  /// where Xen cannot be asked.
  public func endRestoresOfRunning() {
    guard let hypervisor = try? Hypervisor(), let domains = try? hypervisor.domains() else { return }
    _ = unfinishedRestores(of: nil, domains)
  }

  /// - Parameter domains: all of the host.
  func unfinishedRestores(of guest: String?, _ domains: [Domain]) -> [UnfinishedRestore] {
    let present = domains.filter { !$0.state.isEnded }
    let running = domains.filter { $0.state == .running }
    return unfinishedRestores(of: guest, present: Set(present.map(\.uuid)), running: Set(running.map(\.uuid)))
  }

  /// Restores that did not end, of guests that do not run. Where the guest runs somebody has started it, whichever way: that is written
  /// down, so that nobody is told to go back behind what it does from now on when it is shut down one day.
  ///
  /// - Parameters:
  ///   - guest: by name or uuid; nil for all.
  ///   - present: guests of which there is a domain that has not ended.
  ///   - running: those of them that run.
  func unfinishedRestores(
    of guest: String?, present: Set<String>, running: Set<String>
  ) -> [UnfinishedRestore] {
    let folders = (try? folders(of: guest)) ?? []
    for folder in folders where running.contains(folder.uuid) { try? Self.endRestore(in: folder) }
    return folders.filter { !present.contains($0.uuid) }.compactMap { UnfinishedRestore($0) }
  }

  private static func endRestore(in folder: GuestFolder) throws {
    guard try folder.lastRollback()?.isDone == false else { return }
    // Somebody else may hold it, and be about to write it down himself.
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    try folder.endLastRollback()
  }
}
