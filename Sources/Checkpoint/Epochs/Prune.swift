public import EpochStore

/// What a policy would do to the epochs of one guest.
public struct PrunePlan: Sendable {
  /// The guest's name in its newest epoch; its uuid where no manifest can be read.
  public let guest: String
  public let uuid: String
  public let overview: EpochOverview
  /// By number.
  public let verdicts: [Retention.Verdict]

  let folder: GuestFolder
  let policy: RetentionPolicy
  let zone: LocalZone

  public var removed: [Int] { verdicts.filter { !$0.isKept }.map(\.epoch) }

  init(_ folder: GuestFolder, _ policy: RetentionPolicy, now: EpochTime = .now, zone: LocalZone = .system) throws {
    (self.folder, self.policy, self.zone) = (folder, policy, zone)
    overview = try folder.overview()
    guest = overview.name.isEmpty ? folder.uuid : overview.name
    uuid = folder.uuid
    do { verdicts = try Retention.decide(policy, overview.subjects, now: now, zone: zone) } catch {
      guard case .policyRemovesAll = error else { throw error }
      throw CheckpointError.policyRefused(guest: guest, error.description)
    }
  }

  /// Removes what the plan removes, unless the policy keeps it by now: somebody may have pinned it.
  ///
  /// - Parameters:
  ///   - disks: gives the guest's disks in the pools; nil when the store has no pools. What it throws is told in the
  ///     result, for the store has been pruned then.
  ///   - allowed: nothing else may go.
  ///   - budget: about how many bytes to give back at most of what younger epochs do not need in the files that stay; with one this is
  ///     done now and then only (``GuestFolder/isCompactionDue()``).
  ///   - shouldStop: asked often while that is done; nothing is lost by stopping.
  /// - Returns: what was done; epochs that somebody looks at stay, and a note says so.
  func perform(
    disks: () throws -> DiskHistory?, only allowed: Set<Int>? = nil, now: EpochTime = .now, budget: UInt64 = .max,
    shouldStop: () -> Bool = { false }
  ) throws -> Pruned {
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    let today = try PrunePlan(folder, policy, now: now, zone: zone)
    let planned = Set(removed).intersection(today.removed).intersection(allowed ?? Set(removed))
    let mounted = folder.mounted(planned, disks)
    var pruned = try folder.remove(
      planned.subtracting(mounted), of: today.overview, disks: disks, budget: budget, shouldStop: shouldStop)
    pruned.mounted = mounted.sorted()
    return pruned
  }
}

extension GuestFolder {
  /// Removes epochs with their disks. In this order: manifests, then files, then the disks' snapshots, so that a crash leaves at worst
  /// what the next call, or the next take, sweeps. The caller holds the exclusive lock.
  ///
  /// The parameters are those of ``PrunePlan/perform(disks:only:now:budget:shouldStop:)``. None of the epochs is mounted.
  func remove(
    _ gone: Set<Int>, of overview: EpochOverview, disks: () throws -> DiskHistory?, budget: UInt64 = .max,
    shouldStop: () -> Bool
  ) throws -> Pruned {
    let removal = try remove(epochs: gone)
    var (pools, poolProblem): ([DiskHistory.Forgotten], String?) = ([], nil)
    do {
      let published = Set(overview.allNumbers).subtracting(gone)
      if let disks = try disks() { pools = try forget(disks, published) }
    } catch {
      poolProblem = "\(error)"
    }
    // A limit is for who is not waited for.
    let isDue = budget == .max || (try? isCompactionDue()) ?? true
    let compaction = try isDue ? compact(budget: budget, shouldStop: shouldStop) : Compaction()
    return Pruned(removal: removal, compaction: compaction, pools: pools, poolProblem: poolProblem)
  }

  /// Those that somebody looks at. Where the pools cannot be asked nothing is mounted.
  func mounted(_ epochs: Set<Int>, _ disks: () throws -> DiskHistory?) -> Set<Int> {
    epochs.intersection((try? disks()?.mountedEpochs()) ?? [])
  }

  private func forget(_ disks: DiskHistory, _ published: Set<Int>) throws -> [DiskHistory.Forgotten] {
    try disks.forgetUnpublished(published: published, used: highestUsedNumber())
  }
}

/// What removing epochs of a guest came to.
public struct Pruned: Sendable {
  public let removal: Removal
  public let compaction: Compaction
  /// Pools that held disks of removed epochs.
  public internal(set) var pools: [DiskHistory.Forgotten]
  /// Why snapshots were left in the pools; the next prune or take removes them.
  public internal(set) var poolProblem: String?
  /// Epochs that were to go and stay, because somebody looks at them.
  public internal(set) var mounted: [Int] = []

  /// Bytes that the store's file system got back.
  public var freedBytes: UInt64 { removal.freedBytes + compaction.freedBytes }
  /// What a person should know.
  public var notes: [String] {
    let rest = "files of removed epochs still hold what nobody needs; the next prune gives it back"
    return compaction.notes + (compaction.isComplete ? [] : [rest]) + mountedNote
  }
  private var mountedNote: [String] {
    if mounted.isEmpty { return [] }
    let (which, stay) = mounted.count == 1 ? ("epoch", "is mounted and stays") : ("epochs", "are mounted and stay")
    return ["\(which) \(mounted.map(String.init).joined(separator: ", ")) \(stay); ckpt umount --all ends that"]
  }
  /// Bytes that files of removed epochs keep, because younger epochs need them, or until the next prune.
  public var heldBytes: UInt64 {
    removal.retainedBytes > compaction.freedBytes ? removal.retainedBytes - compaction.freedBytes : 0
  }
}

extension Engine {
  /// What a policy would do to one guest, or to all. Changes nothing and takes no lock.
  ///
  /// - Throws: ``CheckpointError/policyRefused(guest:_:)`` when it would leave a guest without an epoch.
  public func prunePlans(_ guest: String?, _ policy: RetentionPolicy) throws -> [PrunePlan] {
    try folders(of: guest).map { try PrunePlan($0, policy) }.sorted { ($0.guest, $0.uuid) < ($1.guest, $1.uuid) }
  }

  /// Carries a plan out.
  ///
  /// - Parameters:
  ///   - allowed: nothing else may go: what somebody was asked about, when the plan is a later one.
  ///   - budget: about how many bytes to give back at most of the files that younger epochs need in part; the next prune goes on.
  ///   - cancellation: ends that early. The plan's epochs are gone then.
  public func prune(
    _ plan: PrunePlan, only allowed: Set<Int>? = nil, budget: UInt64 = .max,
    cancellation: TakeCancellation = TakeCancellation()
  ) throws -> Pruned {
    try plan.perform(
      disks: { try history(ofGuest: plan.uuid) }, only: allowed, budget: budget,
      shouldStop: { cancellation.isCancelled })
  }

  /// The epochs of a guest's disks; nil in a store without pools, which can be pruned on a host without device-mapper.
  func history(ofGuest uuid: String) throws -> DiskHistory? {
    PoolFolder.all(store: storePath).isEmpty ? nil : DiskHistory(try pools(), guestUUID: uuid)
  }
}
