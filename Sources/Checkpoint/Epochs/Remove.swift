public import EpochStore

/// Epochs of a guest that somebody wants to be rid of.
public struct RemovePlan: Sendable {
  /// The guest's name in its newest epoch; its uuid where no manifest can be read.
  public let guest: String
  public let uuid: String
  /// Ascending.
  public let epochs: [Int]

  let folder: GuestFolder
  let force: Bool
  /// Of the epochs those that only a pool knows, by their disks; see ``DiskOnlyEpochs``.
  private let unknown: Set<Int>

  init(_ folder: GuestFolder, guest: String, epochs: Set<Int>, unknown: Set<Int> = [], force: Bool) throws {
    self.folder = folder
    self.unknown = unknown
    self.guest = guest
    self.force = force
    uuid = folder.uuid
    self.epochs = epochs.sorted()
    _ = try check()
  }

  private func check() throws -> EpochOverview {
    let overview = try folder.overview()
    let pinned = epochs.filter(overview.isPinned)
    guard force || pinned.isEmpty else { throw CheckpointError.pinned(guest: guest, epochs: pinned) }
    return overview
  }

  /// Younger epochs keep what they need of the removed ones.
  ///
  /// - Parameter shouldStop: asked often while what nobody needs of them is given back; the next prune goes on.
  func perform(disks: () throws -> DiskHistory?, shouldStop: () -> Bool = { false }) throws -> Pruned {
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    // Somebody may have pinned one meanwhile, or the folder that knows one is back.
    let overview = try check()
    let unknown = unknown.subtracting(overview.allNumbers)
    let known = Set(epochs).subtracting(self.unknown)
    var pruned = try folder.remove(known, of: overview, disks: disks, shouldStop: shouldStop)
    guard !unknown.isEmpty, let disks = try disks() else { return pruned }
    do { pruned.pools += try folder.withReserve { try disks.forget(unknown: unknown) } } catch {
      // Epochs of the folder are gone by now, and that is to be told.
      guard !known.isEmpty else { throw error }
      pruned.poolProblem = pruned.poolProblem ?? "\(error)"
    }
    return pruned
  }
}

extension Engine {
  /// Finds epochs that are to be removed. Changes nothing and takes no lock.
  ///
  /// - Parameter force: pinned ones too.
  /// - Throws: ``CheckpointError/noSuchEpoch(guest:_:)``, ``CheckpointError/pinned(guest:epochs:)``.
  public func removePlan(_ guest: String, epochs: [EpochReference], force: Bool) throws -> RemovePlan {
    let folder = try folder(of: guest)
    let overview = try folder.overview()
    let unknown = numbersOfUnknown(in: folder, overview).intersection(epochs.compactMap(Self.plainNumber))
    let numbers = try epochs.filter { Self.plainNumber($0).map(unknown.contains) != true }.map { epoch in
      do throws(UnknownEpoch) { return try overview.resolve(epoch) } catch {
        throw noSuchEpoch(error, in: folder, of: guest)
      }
    }
    return try RemovePlan(
      folder, guest: overview.name.isEmpty ? folder.uuid : overview.name, epochs: unknown.union(numbers),
      unknown: unknown, force: force)
  }

  private static func plainNumber(_ epoch: EpochReference) -> Int? {
    if case .number(let number) = epoch { number } else { nil }
  }

  /// Epochs of a guest that only pools know. None where the pools cannot be asked.
  private func numbersOfUnknown(in folder: GuestFolder, _ overview: EpochOverview) -> Set<Int> {
    guard let disks = (try? history(ofGuest: folder.uuid)) ?? nil, let used = try? folder.highestUsedNumber(),
      let unknown = try? disks.diskOnlyEpochs(published: Set(overview.allNumbers), used: used)
    else { return [] }
    return Set(unknown.flatMap(\.epochs))
  }

  /// Removes them with their disks.
  ///
  /// - Parameter cancellation: as ``prune(_:only:budget:cancellation:)`` has it.
  public func remove(_ plan: RemovePlan, cancellation: TakeCancellation = TakeCancellation()) throws -> Pruned {
    try plan.perform(disks: { try history(ofGuest: plan.uuid) }, shouldStop: { cancellation.isCancelled })
  }
}
