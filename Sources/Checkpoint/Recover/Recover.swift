import DeviceMapper
import EpochStore
import Glibc
public import Xen

/// What ``Engine/recover(_:)`` did.
public struct Recovery: Sendable {
  public struct Guest: Sendable {
    public var name: String
    public var domain: UInt32
    public var outcome: AbandonedSuspension.Outcome
  }

  /// Devices that stood suspended and run again.
  public var devices: [String] = []
  public var guests: [Guest] = []
  /// Names of guests whose log of dirty pages was left on, and is off.
  public var logs: [String] = []
  /// What was removed from the store and its pools, or settled there, a line each.
  public var swept: [String] = []
  /// Restores that did not end, of guests that do not run: somebody has to say which way.
  public var unfinished: [UnfinishedRestore] = []
  /// What could not be ended, and why.
  public var failures: [String] = []
}

extension Engine {
  /// Ends what killed takes left: devices first, so that the guests' writes go on, then suspended guests, then logs of dirty
  /// pages, then what was begun in pools and never published in the store. What fails for one guest is told in the result, and keeps nothing of another.
  ///
  /// A guest that has taken a request may suspend late: it is watched for up to a minute from the request.
  /// - Parameter guest: by name, id or uuid; nil for all.
  /// - Throws: ``CheckpointError/takeRuns(guest:)`` while a take that lives is in its pause; nothing was touched then.
  public func recover(_ guest: String?) throws -> Recovery {
    let hypervisor = try Hypervisor()
    let store = try XenStore()
    let domains = try domains(of: guest, hypervisor, store)
    // A take that lives suspends devices on purpose; whose it is cannot be told from the devices.
    for domain in try hypervisor.domains() {
      // One whose note cannot be read is told of below.
      guard let pending = try? AbandonedSuspension(hypervisor, store, domain), pending.isAlive else { continue }
      throw CheckpointError.takeRuns(guest: store.label(of: domain.id))
    }
    var recovery = Recovery()
    do { recovery.devices = try pools().resumeSuspended() } catch { recovery.failures.append("disks: \(error)") }

    var abandoned: [AbandonedSuspension] = []
    for domain in domains {
      do {
        guard try AbandonedSuspension(hypervisor, store, domain) != nil else { continue }
        // Each by a connection of its own: one that a guest keeps waiting is lost, and nobody else's shall be. A take that has begun
        // since the first look is nobody's remainder.
        guard let own = try AbandonedSuspension(hypervisor, XenStore(), domain), !own.isAlive else { continue }
        abandoned.append(own)
      } catch { recovery.failures.append("\(store.label(of: domain.id)): \(error)") }
    }
    let results = endSideBySide(abandoned, wait: { usleep(20_000) }, step: { try $0.step() })
    for (domain, result) in zip(abandoned.map(\.domain), results) {
      let name = store.label(of: domain.id)
      switch result {
      case .success(let outcome): recovery.guests.append(.init(name: name, domain: domain.id, outcome: outcome))
      case .failure(let error): recovery.failures.append("\(name): \(error)")
      }
    }
    for domain in domains {
      let name = store.label(of: domain.id)
      do { if try endAbandonedLog(hypervisor, store, domain) { recovery.logs.append(name) } } catch {
        recovery.failures.append("\(name): \(error)")
      }
    }
    let settled = settle(guest)
    recovery.swept = settled.swept
    recovery.failures += settled.failures
    if let now = try? hypervisor.domains() { recovery.unfinished = unfinishedRestores(of: guest, now) }
    return recovery
  }

  /// A guest that does not run has none, but may have something in the store.
  private func domains(of guest: String?, _ hypervisor: Hypervisor, _ store: XenStore) throws -> [Domain] {
    guard let guest else { return try hypervisor.domains() }
    do { return [try hypervisor.find(guest, store: store)] } catch {
      guard case .noSuchDomain = error, (try? folder(of: guest)) != nil else { throw error }
      return []
    }
  }

  /// The last part of ``recover(_:)`` alone: pools and store, without guests and their devices. Needs no Xen.
  ///
  /// - Parameter guest: by name or uuid; nil for all.
  public func settle(_ guest: String?) -> Recovery {
    // Device-mapper is asked only where there are pools: a trial of the store alone needs none.
    let pools = try? (poolNames.isEmpty ? nil : self.pools())
    // One that cannot be read is a failure of its own.
    let folders = try? guest.map { [try folder(of: $0)] } ?? existingStore().folders()
    let store = try? (guest == nil ? existingStore() : nil)
    let sweep = Sweep(folders ?? [], pools, store: store)
    var recovery = Recovery()
    (recovery.swept, recovery.failures) = (sweep.swept, sweep.failures)
    return recovery
  }

  /// Switches off a log of dirty pages that a dead take left on. One that is armed from epoch to epoch stays.
  func endAbandonedLog(_ hypervisor: Hypervisor, _ store: XenStore, _ domain: Domain) throws -> Bool {
    let note = XenGuest.trackingNote(store, domain)
    func isAbandoned() throws -> Bool { try note.read().flatMap(TrackingNote.init)?.isAbandoned == true }
    guard try isAbandoned() else { return false }
    // A take that begins now would lose its log under its hands.
    let lock = try (try? existingStore().folder(uuid: domain.uuid, create: false))?.lock(.exclusive)
    defer { _ = lock }
    guard try isAbandoned() else { return false }
    // Another saver uses the log by now, and ends it itself.
    if !domain.isBeingSaved { LogDirty.end(hypervisor, domain: domain.id) }
    try note.clear()
    return true
  }
}

/// Calls `step` on all items, one after the other, again and again until each gave a result or failed. Whoever needs no waiting
/// is done in the first turn, and nobody's failure is another's.
func endSideBySide<Item, Outcome>(
  _ items: [Item], wait: () -> Void, step: (inout Item) throws -> Outcome?
) -> [Result<Outcome, any Error>] {
  var items = items
  var results = [Result<Outcome, any Error>?](repeating: nil, count: items.count)
  while true {
    for index in items.indices where results[index] == nil {
      do { results[index] = try step(&items[index]).map { .success($0) } } catch { results[index] = .failure(error) }
    }
    let ended = results.compactMap { $0 }
    if ended.count == items.count { return ended }
    wait()
  }
}
