import DeviceMapper
public import EpochStore
import Glibc
import MigrationStream
import Xen

/// Takes and restores epochs of this host's guests in one store.
///
/// Everything a tool or a service does to a guest goes through here; it opens Xen and device-mapper only when asked
/// for something that needs them, so a store can be read anywhere.
public struct Engine: Sendable {
  public static let defaultStore = "/var/lib/ckpt"

  public let storePath: String
  private let awaited: AwaitedGuests

  /// - Parameter awaited: guests whose takes are told of though they are not there and the store knows nothing of them.
  public init(storePath: String = Engine.defaultStore, awaited: AwaitedGuests = AwaitedGuests()) {
    (self.storePath, self.awaited) = (storePath, awaited)
  }

  /// The store, made when it is missing.
  public func store() throws -> EpochStore { try EpochStore(path: storePath) }

  /// The store to read.
  ///
  /// - Throws: ``CheckpointError/noStore(_:)`` rather than make an empty one.
  public func existingStore() throws -> EpochStore {
    guard access(storePath, F_OK) == 0 else { throw CheckpointError.noStore(storePath) }
    return try store()
  }

  /// The pools of the store and their disks.
  ///
  /// - Throws: `DeviceMapperError` where the kernel has no device-mapper.
  public func pools() throws -> Pools { Pools(store: storePath, mapper: try DeviceMapper()) }

  /// The names of the store's pools, sorted. Needs no device-mapper.
  public var poolNames: [String] { PoolFolder.all(store: storePath).map(\.name) }

  /// Takes an epoch of a running guest, named by name, id or uuid.
  ///
  /// - Parameters:
  ///   - options: how, by the guest's name.
  ///   - memory: by the guest's uuid; kept by an engine that stays, it saves the next take the reading of hashes.
  ///   - lock: of the guest's folder, exclusive, when the caller has it already.
  ///   - held: the guest is not to run again; it is told of the guest, which stands still when the epoch is there.
  public func take(
    _ guest: String, options: (String) -> TakeOptions = { _ in TakeOptions() },
    memory: (_ uuid: String) throws -> TakeMemory = { _ in TakeMemory() }, under lock: FolderLock? = nil,
    held: ((HeldGuest) -> Void)? = nil, cancellation: TakeCancellation = TakeCancellation(),
    report: @escaping (TakeEvent) -> Void = { _ in }
  ) throws -> EpochManifest {
    let signals = TakeSignals(report, awaited: awaited)
    return try signals.run {
      report(.phase(.probe))
      FaultPoint.reach(.probe)
      let start = ContinuousClock.now
      let (hypervisor, xenstore, domain): (Hypervisor, XenStore, Domain)
      do { (hypervisor, xenstore, domain) = try find(guest) } catch {
        beginAbsent(guest, signals, options)
        throw error
      }
      let name = xenstore.label(of: domain.id)
      let options = options(name)
      let hooks = TakeHooks(options.hooks, guest: name, uuid: domain.uuid, domain: domain.id, store: storePath)
      if domain.id != 0 {
        signals.begin(name, try? store().folder(uuid: domain.uuid, create: true), hooks, command: options.notify)
      }
      let memory = try memory(domain.uuid)
      let subject = try XenGuest(hypervisor, xenstore, domain, memory: memory)
      let time = TakeTime(guest: name, seconds: options.timeoutSeconds, began: start, cancellation: cancellation)
      let disks = try GuestDisks(
        pools: pools().waiting(seconds: 60) { try time.check() }, guest: subject.identity.name,
        guestUUID: subject.identity.uuid,
        disks: subject.disks.map(GuestDisk.init))
      let folder = try store().folder(uuid: subject.identity.uuid, create: true)
      let take = Take(
        subject, disks: disks, into: folder, options: options, memory: memory, under: lock, hooks: hooks,
        keeper: { [storePath] in
          try PauseGuard(store: storePath, domain: domain.id, uuid: domain.uuid, devices: disks.devices)
        },
        holdsOn: held != nil, cancellation: cancellation, report: signals.report)
      let manifest = try take.run(probed: ContinuousClock.now - start)
      if let guest = take.held { held?(guest) }
      return manifest
    }
  }

  private func find(_ guest: String) throws -> (Hypervisor, XenStore, Domain) {
    let hypervisor = try Hypervisor()
    let xenstore = try XenStore()
    return (hypervisor, xenstore, try hypervisor.find(guest, store: xenstore))
  }

  /// A guest that is gone, or that Xen cannot be asked about, is known by what the store has of it. A name that nobody knows is a
  /// slip of whoever typed it: nothing is made for it, and nobody told.
  private func beginAbsent(_ guest: String, _ signals: TakeSignals, _ options: (String) -> TakeOptions) {
    let folder = try? existingStore().find(guest)
    guard folder != nil || awaited.contains(guest) else { return }
    var name = guest
    if let folder, folder.uuid == guest.lowercased(), let known = try? folder.overview().name, !known.isEmpty {
      name = known
    }
    let options = options(name)
    let hooks = TakeHooks(options.hooks, guest: name, uuid: folder?.uuid, domain: nil, store: storePath)
    signals.begin(name, folder, hooks, command: options.notify)
  }

  /// The epochs of one guest, or of all, by guest and number, with all that is known of them.
  ///
  /// - Parameter unreadable: told of each folder that cannot be read, where all guests are asked for.
  public func list(_ guest: String?, unreadable: (UnreadableFolder) -> Void) throws -> [EpochList] {
    try read(guest, unreadable) { folder throws(StoreError) in try folder.epochs(detailed: true) }
      .sorted { $0.name < $1.name }
  }

  /// The epochs of one guest, or of all, by guest and number, at a glance. Much faster.
  ///
  /// - Parameter unreadable: as ``list(_:unreadable:)`` has it.
  public func overview(_ guest: String?, unreadable: (UnreadableFolder) -> Void) throws -> [EpochOverview] {
    try read(guest, unreadable) { folder throws(StoreError) in try folder.overview() }.sorted { $0.name < $1.name }
  }

  private func read<Value>(
    _ guest: String?, _ unreadable: (UnreadableFolder) -> Void, _ body: (GuestFolder) throws(StoreError) -> Value
  ) throws -> [Value] {
    if let guest { return [try body(folder(of: guest))] }
    let survey = try existingStore().survey(body)
    survey.unreadable.forEach(unreadable)
    return survey.values
  }

  /// All that is known of one epoch.
  ///
  /// - Returns: its manifest, what the last verification found, if there was one, and what was said of it; nil when that cannot be
  ///   read.
  public func show(
    _ guest: String, epoch: EpochReference
  ) throws -> (manifest: EpochManifest, verdict: EpochVerdict?, marks: EpochMarks?) {
    let folder = try folder(of: guest)
    let number = try resolve(epoch, in: folder, of: guest)
    return (try folder.manifest(number), try folder.verdict(number), try? folder.marks(number))
  }

  /// Writes an epoch as the stream that `xl restore` reads; every page is checked on the way.
  public func export(_ guest: String, epoch: EpochReference, to descriptor: Int32) throws {
    let folder = try folder(of: guest)
    let lock = try folder.lock(.shared)
    defer { _ = lock }
    let stream = try EpochStream(folder.open(epoch: resolve(epoch, in: folder, of: guest)))
    var writer = StreamWriter(DescriptorSink(descriptor))
    try stream.write(to: &writer)
    let code = syncFile(descriptor)
    guard code == 0 else { throw StreamError.writeFailed(errno: code) }
  }

  /// The folder of one guest, or those of all, as far as they can be read.
  func folders(of guest: String?) throws -> [GuestFolder] {
    if let guest { return [try folder(of: guest)] }
    return try existingStore().listable().values
  }

  /// Folders of guests that cannot be read: what is done for all guests leaves them out.
  public func unreadableFolders() throws -> [UnreadableFolder] { try existingStore().listable().unreadable }

  /// A guest's folder by name or uuid; a number is a running domain's.
  func folder(of guest: String) throws -> GuestFolder {
    let store = try existingStore()
    let found = Result { try store.find(guest) }
    if case .success(let folder?) = found { return folder }
    if UInt32(guest) != nil, let folder = try folder(ofDomain: guest) { return folder }
    // It may be in one that cannot be read.
    _ = try found.get()
    throw CheckpointError.noEpochs(guest: guest)
  }

  /// The folder of a guest that runs, by name, number or uuid; nil when it has none, or Xen cannot be asked.
  func folder(ofDomain guest: String) throws -> GuestFolder? {
    guard let hypervisor = try? Hypervisor(), let xenstore = try? XenStore(),
      let domain = try? hypervisor.find(guest, store: xenstore)
    else { return nil }
    do { return try existingStore().folder(uuid: domain.uuid, create: false) } catch StoreError.notFound { return nil }
  }

  /// The number of the epoch that is meant.
  ///
  /// - Throws: ``CheckpointError/noSuchEpoch(guest:_:)`` with the nearest alternatives; `StoreError.damaged` for a number whose
  ///   manifest cannot be read.
  func resolve(_ epoch: EpochReference, in folder: GuestFolder, of guest: String) throws -> Int {
    if case .number(let number) = epoch {
      do { return try folder.manifest(number).epoch } catch {
        guard case .notFound = error else { throw error }
      }
    }
    do { return try folder.overview().resolve(epoch) } catch let unknown as UnknownEpoch {
      throw noSuchEpoch(unknown, in: folder, of: guest)
    }
  }
}

extension EpochList {
  fileprivate var name: String { epochs.last?.guest ?? "" }
}

extension EpochOverview {
  /// The guest's name in its newest epoch; empty where none can be read.
  var name: String { epochs.last?.guest ?? "" }
}

extension GuestDisk {
  /// A disk without a block device in dom0 (a file behind qemu, a driver domain) has number 0:0, which no pool has.
  init(_ disk: Xen.GuestDisk) {
    self.init(
      vdev: disk.vdev,
      number: .init(major: disk.device?.major ?? 0, minor: disk.device?.minor ?? 0),
      path: disk.path, readOnly: disk.isReadOnly)
  }
}
