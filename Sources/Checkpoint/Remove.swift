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

  init(_ folder: GuestFolder, guest: String, epochs: Set<Int>, force: Bool) throws {
    self.folder = folder
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
    // Somebody may have pinned one meanwhile.
    return try folder.remove(Set(epochs), of: check(), disks: disks, shouldStop: shouldStop)
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
    let numbers = try epochs.map { epoch in
      do throws(UnknownEpoch) { return try overview.resolve(epoch) } catch {
        throw CheckpointError.noSuchEpoch(guest: guest, error.text)
      }
    }
    return try RemovePlan(
      folder, guest: overview.name.isEmpty ? folder.uuid : overview.name, epochs: Set(numbers), force: force)
  }

  /// Removes them with their disks.
  ///
  /// - Parameter cancellation: as ``prune(_:only:budget:cancellation:)`` has it.
  public func remove(_ plan: RemovePlan, cancellation: TakeCancellation = TakeCancellation()) throws -> Pruned {
    try plan.perform(disks: { try history(ofGuest: plan.uuid) }, shouldStop: { cancellation.isCancelled })
  }
}
