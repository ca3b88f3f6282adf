public import EpochStore
import Xen

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

  /// What the guest is called; its uuid where nothing tells.
  static func name(of folder: GuestFolder, _ overview: EpochOverview) -> String {
    overview.name.isEmpty ? folder.lastName ?? folder.uuid : overview.name
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
  /// - Throws: ``ViewError/epochsMounted(guest:epochs:)`` while somebody looks at one of them; nothing was removed.
  func perform(disks: () throws -> DiskHistory?, shouldStop: () -> Bool = { false }) throws -> Pruned {
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    // Somebody may have pinned one meanwhile, or the folder that knows one is back.
    let overview = try check()
    let unknown = unknown.subtracting(overview.allNumbers)
    let known = Set(epochs).subtracting(self.unknown)
    let mounted = folder.mounted(known, disks)
    guard mounted.isEmpty else { throw ViewError.epochsMounted(guest: guest, epochs: mounted.sorted()) }
    // With the last epoch goes the guest's name, and by it what else there is of the guest is found.
    if guest != uuid, known.isSuperset(of: overview.allNumbers) { try? folder.rename(to: guest) }
    var pruned = try folder.remove(known, of: overview, disks: disks, shouldStop: shouldStop)
    guard !unknown.isEmpty, let disks = try disks() else { return pruned }
    do { pruned.pools += try disks.forget(unknown: unknown) } catch {
      // Epochs of the folder are gone by now, and that is to be told.
      guard !known.isEmpty else { throw error }
      pruned.poolProblem = pruned.poolProblem ?? "\(error)"
    }
    return pruned
  }
}

/// What came of removing all epochs of a guest.
public struct RemovedGuest: Sendable {
  public let pruned: Pruned
  /// The guest's folder in the store is gone as well.
  public let isGone: Bool
  /// What there still is of the guest, and how to be rid of that, a line each.
  public let remains: [String]
}

extension RemovePlan {
  /// Removes the epochs as ``perform(disks:shouldStop:)`` does, and then the guest's folder, unless there is more of the guest: the
  /// folder knows which numbers were used, and they are not to be used again.
  ///
  /// - Parameters:
  ///   - running: the names of the guests that run, by uuid.
  ///   - scheduled: names or uuids of the guests that have a schedule.
  func performAll(
    disks: () throws -> DiskHistory?, running: () throws -> [String: String], scheduled: () throws -> Set<String>,
    shouldStop: () -> Bool = { false }
  ) throws -> RemovedGuest {
    // The epochs tell which disks are the guest's, and are about to go.
    let devices = (try? disks()?.devices()) ?? []
    let pruned = try perform(disks: disks, shouldStop: shouldStop)
    do {
      let lock = try folder.lock(.exclusive)
      defer { _ = lock }
      let rest = try GuestRest(self, devices: devices, disks(), running: running(), scheduled: scheduled())
      var remains = try rest.lines()
      if remains.isEmpty {
        if try folder.removeForGood() { return RemovedGuest(pruned: pruned, isGone: true, remains: []) }
        remains.append("\(folder.path) holds files that are none of ckpt's")
      }
      remains.append("\(Self.folderStays); when nothing of this is left: ckpt remove \(uuid) --all")
      return RemovedGuest(pruned: pruned, isGone: false, remains: remains)
    } catch {
      // The epochs are gone by now, and that is to be told.
      return RemovedGuest(pruned: pruned, isGone: false, remains: ["\(Self.folderStays): \(error)"])
    }
  }

  private static let folderStays = "its folder in the store stays, with the numbers that were used"
}

/// What there is of a guest besides its epochs.
private struct GuestRest {
  private let folder: GuestFolder
  private let running: [String: String]
  private let scheduled: Set<String>
  private let disks: DiskHistory?
  /// Devices of the disks that its epochs had.
  private let devices: Set<String>
  /// What it is called in the store and in Xen, and its uuid.
  private let names: Set<String>

  init(
    _ plan: RemovePlan, devices: Set<String>, _ disks: DiskHistory?, running: [String: String],
    scheduled: Set<String>
  ) {
    (folder, self.devices, self.disks) = (plan.folder, devices, disks)
    (self.running, self.scheduled) = (running, scheduled)
    names = Set([plan.guest, plan.uuid, running[plan.uuid] ?? plan.guest])
  }

  /// One for each thing; none when there is nothing.
  func lines() throws -> [String] {
    var lines: [String] = []
    let epochs = Set(try folder.overview().allNumbers).union(try disks?.epochs() ?? []).sorted()
    if !epochs.isEmpty {
      let numbers = epochs.map(String.init).joined(separator: ", ")
      lines.append("epochs are there that came meanwhile, or whose disks a pool still has: \(numbers)")
    }
    if let name = running[folder.uuid] { lines.append("it runs as '\(name)': its next epoch holds all of its memory") }
    for (name, command) in try owners() { lines.append(line("disks in a pool", of: name, command)) }
    for name in names.sorted() where scheduled.contains(name) && !isOfAnother(name) {
      lines.append(line("a schedule", of: name, "ckpt schedule remove"))
    }
    return lines
  }

  /// - Parameter command: what takes it away, but for the name. Not to be told where it may be another guest's.
  private func line(_ what: String, of name: String, _ command: String) -> String {
    guard let others = Namesakes(of: name, besides: folder) else { return "it has \(what): \(command) \(name)" }
    return "'\(name)' has \(what), and \(others)"
  }

  /// Whom the guest's disks are said to belong to, and what takes them away.
  private func owners() throws -> [(name: String, command: String)] {
    let volumes = try disks?.volumes() ?? []
    let ours = volumes.filter {
      (devices.contains($0.device) || names.contains($0.guest)) && !isOfAnother($0.guest)
    }
    return Set(ours.map(\.guest)).sorted().map { name in
      let isAdopted = ours.contains { $0.guest == name && $0.origin != nil }
      return (name, isAdopted ? "ckpt release" : "ckpt disk remove")
    }
  }

  /// What bears the name of another guest that runs is that one's.
  private func isOfAnother(_ name: String) -> Bool {
    running.contains { $0.key != folder.uuid && $0.value == name }
  }
}

extension DiskHistory {
  /// Devices of the disks that the guest's epochs have snapshots of.
  fileprivate func devices() throws -> Set<String> {
    Set(try pools.catalogs().flatMap(\.epochs).filter { $0.guestUUID == guestUUID }.map(\.device))
  }

  /// All guests' disks.
  fileprivate func volumes() throws -> [PoolCatalog.Volume] { try pools.catalogs().flatMap(\.volumes) }
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
      folder, guest: RemovePlan.name(of: folder, overview), epochs: unknown.union(numbers),
      unknown: unknown, force: force)
  }

  /// Finds all epochs of a guest, those too that only pools know; there may be none. Changes nothing and takes no lock.
  ///
  /// - Parameters:
  ///   - agreed: no other may go; nil: all.
  ///   - force: pinned ones too.
  /// - Throws: ``CheckpointError/noEpochs(guest:)`` for a guest without a folder, ``CheckpointError/pinned(guest:epochs:)``.
  public func removeAllPlan(_ guest: String, only agreed: Set<Int>? = nil, force: Bool) throws -> RemovePlan {
    let folder = try folderToEmpty(guest)
    let overview = try folder.overview()
    let unknown = numbersOfUnknown(in: folder, overview)
    let all = unknown.union(overview.allNumbers)
    let epochs = all.intersection(agreed ?? all)
    return try RemovePlan(
      folder, guest: RemovePlan.name(of: folder, overview), epochs: epochs,
      unknown: unknown.intersection(epochs), force: force)
  }

  /// A guest that runs is known by its name also when no epoch bears it.
  private func folderToEmpty(_ guest: String) throws -> GuestFolder {
    do { return try folder(of: guest) } catch CheckpointError.noEpochs {
      guard let folder = try folder(ofDomain: guest) else { throw CheckpointError.noEpochs(guest: guest) }
      return folder
    }
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

  /// Removes them with their disks, and the guest's folder when nothing else is left of the guest.
  ///
  /// - Parameters:
  ///   - plan: of ``removeAllPlan(_:only:force:)``.
  ///   - scheduled: names or uuids of the guests that have a schedule.
  ///   - cancellation: as ``prune(_:only:budget:cancellation:)`` has it.
  public func removeAll(
    _ plan: RemovePlan, scheduled: () throws -> Set<String> = { [] },
    cancellation: TakeCancellation = TakeCancellation()
  ) throws -> RemovedGuest {
    try plan.performAll(
      disks: { try history(ofGuest: plan.uuid) }, running: Self.runningGuests, scheduled: scheduled,
      shouldStop: { cancellation.isCancelled })
  }

  /// The names of the guests that run, by uuid; none on a host without Xen.
  private static func runningGuests() throws -> [String: String] {
    let hypervisor: Hypervisor
    do { hypervisor = try Hypervisor() } catch {
      guard case .noXen = error else { throw error }
      return [:]
    }
    let xenstore = try XenStore()
    let names = try hypervisor.domains().map { ($0.uuid, xenstore.label(of: $0.id)) }
    return Dictionary(names) { first, _ in first }
  }
}
