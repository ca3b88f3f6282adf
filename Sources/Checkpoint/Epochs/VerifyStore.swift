public import EpochStore
import Glibc

/// One epoch that was verified, or could not be.
public struct VerifiedEpoch: Sendable {
  /// Its name in the newest epoch, or its uuid when no manifest can be read.
  public let guest: String
  public let uuid: String
  public let epoch: Int
  public let outcome: Result<FolderVerifier.Outcome, StoreError>

  public var isSound: Bool { (try? outcome.get().verdict.isDamaged) == false }
}

/// What a verification tells while it works.
public enum VerifyEvent: Sendable {
  /// It reads this epoch: bytes done, bytes in all.
  case reading(guest: String, epoch: Int, done: Int, total: Int)
  case verified(VerifiedEpoch)
}

extension Engine {
  /// Verifies one epoch, all epochs of a guest, or all epochs of the store, and keeps the verdicts. Needs neither Xen nor
  /// device-mapper. The guest's folder is locked, shared, for one epoch at a time: takes find their turn in between.
  ///
  /// - Parameters:
  ///   - cancellation: heard all the time; an epoch that was being read then keeps its older verdict.
  ///   - report: gets each outcome as it comes, and epochs last that turned out to share the damage of others.
  /// - Returns: all outcomes, each epoch's last one, in order.
  /// - Throws: when nothing can be verified: ``CheckpointError/noStore(_:)``, ``CheckpointError/noSuchEpoch(guest:_:)``,
  ///   `StoreError.locked` for a guest that was named. Damage is an outcome. Of all guests the rest is verified before it throws what
  ///   keeps a folder from being read.
  @discardableResult
  public func verify(
    _ guest: String?, epoch: EpochReference?, method: VerifyMethod, cancellation: TakeCancellation = TakeCancellation(),
    report: @escaping (VerifyEvent) -> Void
  ) throws -> [VerifiedEpoch] {
    guard let guest else {
      let store = try existingStore()
      var all: [VerifiedEpoch] = []
      for summary in try store.guests() {
        let run = try VerifyRun(store.folder(uuid: summary.uuid, create: false), method, cancellation, report)
        all += try run.verify(run.numbers)
      }
      // Last: a folder that cannot be read keeps no other guest from being looked at.
      if let folder = try store.listable().unreadable.first { throw folder.error }
      return all
    }
    let folder = try folder(of: guest)
    let run = try VerifyRun(folder, method, cancellation, report)
    let number = try epoch.map { try self.number($0, in: run.numbers, folder, of: guest) }
    // A named guest that is busy is told at once.
    _ = try folder.lock(.shared)
    return try run.verify(number.map { [$0] } ?? run.numbers)
  }

  /// One that is damaged is verified as well.
  private func number(
    _ epoch: EpochReference, in numbers: [Int], _ folder: GuestFolder, of guest: String
  ) throws -> Int {
    if case .number(let number) = epoch, numbers.contains(number) { return number }
    return try resolve(epoch, in: folder, of: guest)
  }
}

/// The epochs of one guest.
private struct VerifyRun {
  /// Seconds to wait for a take to end. Longer than any but the first of a large guest.
  private static let patience = 60

  /// Ascending, so that a file is read with its own epoch, and epochs that share its frames find them proven.
  let numbers: [Int]
  private let folder: GuestFolder
  private let guest: String
  private let verifier: FolderVerifier
  private let cancellation: TakeCancellation
  private let report: (VerifyEvent) -> Void

  init(
    _ folder: GuestFolder, _ method: VerifyMethod, _ cancellation: TakeCancellation,
    _ report: @escaping (VerifyEvent) -> Void
  ) throws {
    let list = try folder.epochs()
    self.folder = folder
    self.cancellation = cancellation
    self.report = report
    numbers = list.allNumbers.sorted()
    guest = list.epochs.last?.guest ?? folder.uuid
    verifier = FolderVerifier(folder, method: method, threads: EpochStore.processors)
  }

  func verify(_ numbers: [Int]) throws -> [VerifiedEpoch] {
    var verified: [Int: VerifiedEpoch] = [:]
    func note(_ epoch: Int, _ outcome: Result<FolderVerifier.Outcome, StoreError>) {
      let one = VerifiedEpoch(guest: guest, uuid: folder.uuid, epoch: epoch, outcome: outcome)
      verified[epoch] = one
      report(.verified(one))
    }
    var stuck: StoreError?
    var turn = ContinuousClock.now
    for epoch in numbers {
      try cancellation.check()
      if let stuck {
        note(epoch, .failure(stuck))
        continue
      }
      letOthersIn(&turn)
      do throws(StoreError) { note(epoch, .success(try verify(epoch))) } catch {
        if case .stopped = error { throw CheckpointError.interrupted }
        // Pruned meanwhile: there is nothing left to verify.
        if case .notFound = error { continue }
        if case .locked = error { stuck = error }
        note(epoch, .failure(error))
      }
    }
    if stuck == nil {
      let lock = try lock()
      defer { _ = lock }
      for outcome in try verifier.finish() { note(outcome.verdict.epoch, .success(outcome)) }
    }
    return verified.values.sorted { $0.epoch < $1.epoch }
  }

  /// flock is not fair: a take that waits for the lock tries it every 20 ms, and would never meet the instant between two epochs. So
  /// the lock is free for longer than that, once for each second of work.
  private func letOthersIn(_ turn: inout ContinuousClock.Instant) {
    guard ContinuousClock.now - turn > .seconds(1) else { return }
    usleep(50_000)
    turn = .now
  }

  private func verify(_ epoch: Int) throws(StoreError) -> FolderVerifier.Outcome {
    let lock = try lock()
    defer { _ = lock }
    return try verifier.verify(
      epoch, progress: { report(.reading(guest: guest, epoch: epoch, done: $0, total: $1)) },
      shouldStop: { [cancellation] in cancellation.isCancelled })
  }

  private func lock() throws(StoreError) -> FolderLock {
    for _ in 0..<(Self.patience * 10) {
      do { return try folder.lock(.shared) } catch {
        guard case .locked = error else { throw error }
        if cancellation.isCancelled { throw .stopped }
        usleep(100_000)
      }
    }
    return try folder.lock(.shared)
  }
}
