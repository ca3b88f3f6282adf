import EpochStore
import Xen

/// An epoch that is about to be made.
private struct EpochPlan {
  var epoch: Int
  var published: EpochOverview
  /// What its file may take.
  var bytes: UInt64
  /// Room for pages to be stored again is part of that.
  var relocates: Bool
}

extension Take {
  /// Everything that may be refused, before the guest notices: lock, number, room in store and pools, and the hook that may say no.
  func reserve() throws -> EpochWriter {
    lock = try outerLock ?? folder.lock(.exclusive, wait: Self.lockPatience, mayGoOn)
    try folder.discardUnpublished()
    var plan = try plan()
    // What is stored again for later's sake is no reason to remove epochs, or to take none.
    if plan.relocates, try shortage(plan) != nil { plan = try self.plan(mayRelocate: false) }
    if plan.published.allNumbers.isEmpty { tellOfNamesakes() }
    try disks.forgetUnpublished(published: Set(plan.published.allNumbers), used: folder.highestUsedNumber())
    if let shortage = try shortage(plan) {
      guard try removeByPolicy(shortage) else { throw skipped(shortage) }
      plan = try self.plan()
      if let shortage = try self.shortage(plan) { throw skipped(shortage) }
    }
    try disks.check(epoch: plan.epoch)
    try hooks.runBefore(epoch: plan.epoch, mayGoOn)
    do { return try create(plan) } catch {
      guard case .damaged? = error as? StoreError, memory.base != nil else { throw error }
      // The base is not what it was when this engine learnt of it: it is looked for again, or done without.
      memory.base = nil
      return try create(self.plan())
    }
  }

  /// Seconds to wait for whoever has the guest's folder: most have it for a moment, and a verification lets go of it now and then.
  private static let lockPatience = 5.0

  private func create(_ plan: EpochPlan) throws -> EpochWriter {
    try folder.create(epoch: plan.epoch, reserving: plan.bytes, base: memory.base)
  }

  /// The pools are this take's until its pause is over. Not before: other guests of a pool, whose takes are as far, would wait for
  /// this one's live copy.
  func reserveDisks(_ writer: EpochWriter, _ staging: Staging) throws {
    let start = ContinuousClock.now
    try disks.reserve(epoch: writer.epoch)
    guard ContinuousClock.now - start > .milliseconds(500) else { return }
    // Another take had a pool: meanwhile the guest wrote more than a pause should copy.
    if tracking.hasLog { try collectOwed() }
    try precopy(writer, staging)
    try followMemory(writer, staging)
  }

  /// With a guest's first epoch, while there is little to lose by giving it back the uuid that it had.
  private func tellOfNamesakes() {
    guard let others = Namesakes(of: guest.identity.name, besides: folder) else { return }
    note("\(others); \(others.advice(to: guest.identity.uuid))")
  }

  /// Number, base and size of the epoch, as the folder is now.
  ///
  /// - Parameter mayRelocate: with room for pages to be stored again, where that is due (``Relocation``).
  private func plan(mayRelocate: Bool = true) throws -> EpochPlan {
    let published = try folder.overview()
    let number = try max(folder.nextEpochNumber(), newestUnknown(published) + 1)
    epoch = number
    let newest = try folder.newestSoundEpoch()
    baseTime = published.epochs.last { $0.epoch == newest }?.time
    let known = memory.base
    // An import may have used the number again.
    if known == nil || known?.epoch != newest || (try? folder.manifest(newest ?? 0))?.fileHash != known?.fileHash {
      memory.base = try folder.base(threads: options.threads)
    }
    let relocates = mayRelocate && !holdsOn && memory.base.map(Relocation.isDue) == true
    let bytes = EpochFormat.worstCaseBytes(
      pages: pagesToExpect(published) + (relocates ? Relocation.pages : 0),
      inherited: memory.base?.pageCount ?? 0, records: 64, recordBytes: Take.recordBytes)
    return EpochPlan(epoch: number, published: published, bytes: bytes, relocates: relocates)
  }

  /// The newest epoch of the guest that only a pool knows: its number shall not be given twice. 0 when there is none.
  private func newestUnknown(_ published: EpochOverview) throws -> Int {
    let unknown = try disks.diskOnlyEpochs(published: Set(published.allNumbers), used: folder.highestUsedNumber())
    for text in unknown.map(\.description) where !statistics.notes.contains(text) { note(text) }
    return unknown.flatMap(\.epochs).max() ?? 0
  }

  /// Room for everything but pages: CPU state, configuration.
  private static let recordBytes = 4 << 20

  private func pagesToExpect(_ published: EpochOverview) -> Int {
    let pages = Int(guest.identity.memoryBytes) / EpochFormat.pageSize
    guard memory.base != nil, let baseTime else { return pages }
    let last = published.epochs.suffix(SpaceForecast.depth + 1).compactMap { try? folder.manifest($0.epoch) }
    let seconds = Double(EpochTime.now.milliseconds - baseTime.milliseconds) / 1000
    return SpaceForecast(last).pages(ofGuest: pages, after: seconds)
  }

  private func shortage(_ plan: EpochPlan) throws -> Shortage? {
    let limits = options.space
    let rooms = try disks.rooms()
    for text in rooms.flatMap(\.warnings) where !statistics.notes.contains(text) { note(text) }
    return Shortage.find(
      limits, need: plan.bytes,
      Shortage.Use(
        path: folder.storePath, guestBytes: limits.quota == nil ? 0 : try folder.diskBytes(),
        storeBytes: limits.storeQuota == nil ? 0 : try EpochStore(path: folder.storePath).diskBytes(),
        freeBytes: try folder.fileSystem().free, pools: rooms))
  }

  private func skipped(_ shortage: Shortage) -> CheckpointError {
    .noRoom(guest: guest.identity.name, shortage.description)
  }

  /// Lets the guest's policy make room, when it has one, and gives back what earlier removals left.
  ///
  /// - Returns: whether there is more room now.
  private func removeByPolicy(_ shortage: Shortage) throws -> Bool {
    guard !options.retention.isEmpty else { return false }
    let plan: PrunePlan
    do { plan = try PrunePlan(folder, options.retention) } catch CheckpointError.policyRefused { return false }
    // Whoever looks at an epoch keeps it for now.
    let mounted = try disks.mountedEpochs()
    let gone = plan.removed.filter { !mounted.contains($0) }
    var (freed, told): (UInt64, String) = (0, "")
    if !gone.isEmpty {
      freed = try folder.remove(epochs: Set(gone)).freedBytes
      try disks.forgetUnpublished(
        published: Set(plan.overview.allNumbers).subtracting(gone), used: folder.highestUsedNumber())
      told = "its policy removed epochs \(gone.map(String.init).joined(separator: ", ")), "
    }
    let budget = max(Compaction.unattendedBudget, shortage.need)
    freed += try folder.compact(budget: budget, shouldStop: { (try? mayGoOn()) == nil }).freedBytes
    guard !gone.isEmpty || freed > 0 else { return false }
    note("\(shortage); \(told)\(ByteCount.text(freed)) freed in the store")
    try mayGoOn()
    return true
  }
}
