import DeviceMapper
import EpochStore
import Glibc
import Xen

extension Engine {
  /// Looks at the store, and as far as they are there at the pools and the running guests. Changes nothing and takes no lock. A guest's
  /// folder that cannot be read is told of in the result, and hides no other.
  ///
  /// - Parameter configuration: for what epochs may take.
  /// - Throws: ``CheckpointError/noStore(_:)``, `StoreError` when the store cannot be read.
  public func status(_ configuration: Configuration = Configuration()) throws -> HostStatus {
    let store = try existingStore()
    let survey = try store.survey { folder throws(StoreError) in try HostStatus.Guest(folder) }
    var status = HostStatus(
      host: hostName(),
      store: HostStatus.Store(
        path: store.path, used: survey.values.reduce(0) { $0 &+ $1.bytes }, fileSystem: try store.fileSystem(),
        limits: configuration.options(for: "").space))
    (status.guests, status.unreadable) = (survey.values, survey.unreadable)
    status.unknown = survey.unreadable.map { "\($0.error)" }
    look(&status)
    status.addLeftovers()
    for index in status.guests.indices {
      status.guests[index].quota = configuration.options(for: status.guests[index].name).space.quota
    }
    status.guests.sort { ($0.name, $0.uuid) < ($1.name, $1.uuid) }
    return status
  }

  /// What the host says, whatever the store has.
  func look(_ status: inout HostStatus) {
    addDomains(&status)
    addPools(&status)
  }

  func hostName() -> String {
    var name = utsname()
    uname(&name)
    return withUnsafeBytes(of: name.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// Which guests run, and what killed takes left on them.
  private func addDomains(_ status: inout HostStatus) {
    do {
      let hypervisor = try Hypervisor()
      let xenstore = try XenStore()
      let domains = try hypervisor.domains().filter { $0.id != 0 }
      status.xen = Hypervisor.release
      // All of them first: a guest that is not known to run may be given advice that harms one that does.
      let names = domains.map { domain in
        let name = xenstore.label(of: domain.id)
        status.add(
          running: domain.id, uuid: domain.uuid, name: name, isHeld: domain.state == .suspended,
          isEnded: domain.state.isEnded)
        return name
      }
      for (domain, name) in zip(domains, names) {
        do { try addRecoverable(&status, hypervisor, xenstore, domain, name) } catch {
          status.unknown.append("\(name): \(error)")
        }
      }
    } catch { status.unknown.append("guests: \(error)") }
  }

  private func addRecoverable(
    _ status: inout HostStatus, _ hypervisor: Hypervisor, _ xenstore: XenStore, _ domain: Domain, _ name: String
  ) throws {
    if let pending = try AbandonedSuspension(hypervisor, xenstore, domain), !pending.isAlive {
      status.recoverable.append("\(name): a take that was killed had asked it to suspend")
    }
    if try XenGuest.trackingNote(xenstore, domain).read().flatMap(TrackingNote.init)?.isAbandoned == true {
      status.recoverable.append("\(name): its log of dirty pages is on for a take that was killed")
    }
  }

  /// How full pools are, and what was begun in them.
  private func addPools(_ status: inout HostStatus) {
    let folders = PoolFolder.all(store: storePath)
    guard !folders.isEmpty else { return }
    let pools: Pools?
    do { pools = try self.pools() } catch {
      status.unknown.append("pools: \(error)")
      pools = nil
    }
    for folder in folders {
      do {
        let catalog = try folder.load()
        status.pools.append(try pools?.status(folder.name) ?? PoolReport(catalog, nil))
        // Who holds the lock is about to end it.
        if catalog.intent != nil, LockHolder.of("\(folder.path)/lock") == nil {
          status.recoverable.append("pool \(folder.name): a change was begun and not ended")
        }
      } catch { status.unknown.append("pool \(folder.name): \(error)") }
    }
    // Devices of a take that lives are suspended for an instant only, under its pool's lock.
    guard let pools, folders.allSatisfy({ LockHolder.of("\($0.path)/lock") == nil }) else { return }
    for device in (try? pools.suspended()) ?? [] { status.recoverable.append("\(device): it stands suspended") }
  }
}

extension HostStatus {
  /// A guest that runs, or stands suspended. Its name in Xen is what one is called of which no epoch tells another.
  mutating func add(running domain: UInt32, uuid: String, name: String, isHeld: Bool, isEnded: Bool = false) {
    let index = guests.firstIndex { $0.uuid == uuid } ?? guests.count
    if index == guests.count {
      guests.append(Guest(name: name, uuid: uuid))
      guests[index].isUnreadable = unreadable.contains { $0.uuid == uuid }
    }
    // What is left of an older domain does not hide the one that is there.
    if isEnded, guests[index].domain != nil { return }
    if guests[index].newest == nil { guests[index].name = name }
    guests[index].domain = domain
    guests[index].isHeld = isHeld
    guests[index].isEnded = isEnded
  }

  fileprivate mutating func addLeftovers() {
    for guest in guests where guest.leftovers > 0 {
      recoverable.append("\(guest.name): \(guest.leftovers) files of no epoch, which the next take removes as well")
    }
  }
}

extension HostStatus.Guest {
  init(_ folder: GuestFolder) throws(StoreError) {
    // A take under way has such files, too.
    let isBusy = folder.lockHolder != nil
    let content = try folder.content()
    let overview = content.overview
    self.init(name: overview.name.isEmpty ? folder.lastName ?? folder.uuid : overview.name, uuid: folder.uuid)
    epochs = overview.allNumbers.count
    damaged = overview.damaged.count + overview.epochs.count { overview.verdicts[$0.epoch]?.isDamaged == true }
    newest = overview.epochs.last
    bytes = content.bytes
    streak = folder.streak
    leftovers = isBusy ? 0 : content.unpublished.count
    unfinished = UnfinishedRestore(folder)
  }
}

extension Pools {
  /// Devices of ours that stand suspended.
  func suspended() throws -> [String] {
    try operations.list().map(\.name).filter { $0.hasPrefix(DeviceName.namePrefix) }.sorted().filter { device in
      guard let info = try operations.info(device) else { return false }
      return info.isOurs && info.suspended
    }
  }
}
