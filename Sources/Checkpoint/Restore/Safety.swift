public import EpochStore
import Xen

/// Whether an epoch is taken of a guest before it is destroyed: the way back.
enum Safety: Equatable {
  case take
  /// Why none is.
  case none(String)

  /// - Parameters:
  ///   - state: of the running domain; nil when there is none.
  ///   - saved: the file in which xendomains has the guest; nil when there is none.
  /// - Throws: ``CheckpointError/noSafetyEpoch(guest:_:)`` for a guest that could lose something and cannot be taken as it is,
  ///   ``CheckpointError/savedByXendomains(guest:file:)`` for one that does not run because it did not come back from that file.
  init(wanted: Bool, guest: String, _ state: Domain.State?, saved: String?) throws {
    if wanted, state == nil, let saved { throw CheckpointError.savedByXendomains(guest: guest, file: saved) }
    switch state {
    case nil: self = .none("the guest did not run")
    case _ where !wanted: self = .none("--no-safety")
    case .running: self = .take
    case .crashed: self = .none("the guest had crashed")
    case .shutdown: self = .none("the guest was shut down")
    case .dying: self = .none("the guest was being destroyed")
    case .paused: throw CheckpointError.noSafetyEpoch(guest: guest, "it is paused; `xl unpause` it first")
    case .suspended: throw CheckpointError.noSafetyEpoch(guest: guest, "it is suspended; run `ckpt recover` first")
    }
  }
}

extension Rollback {
  /// The epoch to go back to.
  ///
  /// - Throws: ``CheckpointError/nothingToUndo(guest:_:)``.
  static func undo(_ folder: GuestFolder, of guest: String) throws -> Int {
    guard let last = try folder.lastRollback() else {
      throw CheckpointError.nothingToUndo(guest: guest, "it was never brought back to an epoch")
    }
    if let epoch = last.wayBack { return epoch }
    let overview = try folder.overview()
    let older = overview.epochs.last { overview.tags($0.epoch).contains(tag) }
    throw CheckpointError.nothingToUndo(
      guest: guest,
      "before it went back to epoch \(last.epoch) at \(last.time) no epoch was taken (\(last.reason))"
        + (older.map { "; the newest that was taken before a rollback is \($0.epoch) of \($0.time)" } ?? ""))
  }
}

extension Engine {
  /// Takes an epoch of the guest that a prepared restore is about to destroy, under the restore's lock, and tags it. The guest then
  /// stands still, for the restore to destroy it or to let it go.
  ///
  /// - Parameters: as ``take(_:options:memory:under:held:cancellation:report:)`` has them.
  /// - Returns: nil when none is to be taken.
  /// - Throws: ``CheckpointError/noSafetyEpoch(guest:_:)``; the guest runs on. ``CheckpointError/interrupted``.
  public func takeSafetyEpoch(
    before restore: Restore, options: (String) -> TakeOptions,
    memory: (_ uuid: String) throws -> TakeMemory = { _ in TakeMemory() }, cancellation: TakeCancellation,
    report: @escaping (TakeEvent) -> Void
  ) throws -> EpochManifest? {
    guard restore.safety == .take, let running = restore.running else { return nil }
    let manifest: EpochManifest
    do {
      manifest = try take(
        running.uuid,
        options: { name in
          var options = options(name)
          // To make room it could remove the very epoch that the guest is to go back to.
          options.retention = RetentionPolicy()
          return options
        }, memory: memory, under: restore.lock, held: { restore.held = $0 },
        cancellation: cancellation, report: report)
    } catch CheckpointError.interrupted {
      throw CheckpointError.interrupted
    } catch {
      throw CheckpointError.noSafetyEpoch(guest: restore.manifest.guest, "\(error)")
    }
    // What undoes the rollback is written by the restore; the marks are for people.
    try? restore.folder.setMarks(
      EpochMarks(tags: [Rollback.tag], note: "before it went back to epoch \(restore.manifest.epoch)"),
      of: manifest.epoch)
    restore.safetyEpoch = manifest.epoch
    return manifest
  }

  /// The epoch that was taken before the guest's last rollback.
  ///
  /// - Throws: ``CheckpointError/nothingToUndo(guest:_:)``, ``CheckpointError/noSuchEpoch(guest:_:)`` when it was removed since.
  public func undoEpoch(_ guest: String) throws -> Int {
    let folder = try folder(of: guest)
    return try resolve(.number(Rollback.undo(folder, of: guest)), in: folder, of: guest)
  }
}
