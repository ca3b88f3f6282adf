import DeviceMapper
import EpochStore
import Glibc
import Xen

extension Engine {
  /// Looks at the store, and as far as they are there at the pools and the running guests. Changes nothing and takes no lock.
  ///
  /// - Parameter configuration: for what epochs may take.
  /// - Throws: ``CheckpointError/noStore(_:)``, `StoreError` when the store cannot be read.
  public func status(_ configuration: Configuration = Configuration()) throws -> HostStatus {
    let store = try existingStore()
    var status = HostStatus(
      host: hostName(),
      store: HostStatus.Store(
        path: store.path, used: try store.diskBytes(), fileSystem: try store.fileSystem(),
        limits: configuration.options(for: "").space))
    status.guests = try store.folders().map { try HostStatus.Guest($0) }
    look(&status)
    addUnpublished(&status, store)
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
      status.xen = Hypervisor.release
      for domain in try hypervisor.domains() where domain.id != 0 {
        let name = xenstore.label(of: domain.id)
        let index = status.guests.firstIndex { $0.uuid == domain.uuid } ?? status.guests.count
        if index == status.guests.count { status.guests.append(HostStatus.Guest(name: name, uuid: domain.uuid)) }
        status.guests[index].domain = domain.id
        status.guests[index].isHeld = domain.state == .suspended
        if let pending = try AbandonedSuspension(hypervisor, xenstore, domain), !pending.isAlive {
          status.recoverable.append("\(name): a take that was killed had asked it to suspend")
        }
        if try XenGuest.trackingNote(xenstore, domain).read().flatMap(TrackingNote.init)?.isAbandoned == true {
          status.recoverable.append("\(name): its log of dirty pages is on for a take that was killed")
        }
      }
    } catch { status.unknown.append("guests: \(error)") }
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

  private func addUnpublished(_ status: inout HostStatus, _ store: EpochStore) {
    for folder in (try? store.folders()) ?? [] where folder.lockHolder == nil {
      guard let names = try? folder.unpublished(), !names.isEmpty else { continue }
      let name = status.guests.first { $0.uuid == folder.uuid }?.name ?? folder.uuid
      status.recoverable.append("\(name): \(names.count) files of no epoch, which the next take removes as well")
    }
  }
}

extension HostStatus.Guest {
  init(_ folder: GuestFolder) throws {
    let overview = try folder.overview()
    self.init(name: overview.name.isEmpty ? folder.uuid : overview.name, uuid: folder.uuid)
    epochs = overview.allNumbers.count
    damaged = overview.damaged.count + overview.epochs.count { overview.verdicts[$0.epoch]?.isDamaged == true }
    newest = overview.epochs.last
    bytes = try folder.diskBytes()
    streak = folder.streak
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
