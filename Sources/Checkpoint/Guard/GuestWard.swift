import DeviceMapper
import Glibc
import Xen

/// A guest of this host in the care of a guard. Everything is opened before it is needed.
struct GuestWard: Ward {
  private let engine: Engine
  private let hypervisor: Hypervisor
  private let xenstore: XenStore
  private let domain: Domain
  private let pools: Pools?
  private let devices: [String]

  /// - Throws: what cannot be opened, or `XenError.domainGone` when another domain has the number.
  init(store: String, domain number: UInt32, uuid: String, devices: [String]) throws {
    engine = Engine(storePath: store)
    hypervisor = try Hypervisor()
    xenstore = try XenStore()
    domain = try hypervisor.domain(number)
    guard domain.uuid == uuid else { throw XenError.domainGone(number) }
    // A guest without disks of ours needs no device-mapper.
    pools = devices.isEmpty ? nil : try engine.pools()
    self.devices = devices
  }

  var isHeld: Bool { state == .suspended }

  private var isThere: Bool { state != nil }

  private var state: Domain.State? {
    guard let now = try? hypervisor.domain(domain.id), now.uuid == domain.uuid else { return nil }
    return now.state
  }

  /// Seconds for xenstored to be asked again in: a guest that may suspend yet shall find somebody, and nobody waits for this.
  private static let patience = 600

  func letGo(from state: PauseClaim.State) -> [String] {
    let end = AbandonedSuspension.now + Self.patience
    var told = resumeDevices()
    var (xenstore, wasResumed) = (xenstore, state == .over)
    // When xenstored was first asked again: what is begun later is another take's.
    var waitsSince: Int?
    while true {
      do { return told + (try self.end(by: xenstore, begunUntil: waitsSince, wasResumed: wasResumed)) } catch {
        guard error.isOfConnection, isThere, AbandonedSuspension.now < end else {
          return told + ["domain \(domain.id): \(error)"]
        }
        waitsSince = waitsSince ?? AbandonedSuspension.now
        // Its note cannot be read, and need not be: the guest was asked, and stands.
        if [.asked, .lettingGo, .taken].contains(state), resume(&told, for: error) { wasResumed = true }
      }
      usleep(100_000)
      if let another = try? XenStore() { xenstore = another }
    }
  }

  private func resumeDevices() -> [String] {
    var told: [String] = []
    for device in devices {
      do {
        if try pools?.resumeIfSuspended(device) == true { told.append("\(device) was suspended, runs again") }
      } catch {
        told.append("\(device): \(error)")
      }
    }
    return told
  }

  /// - Returns: false when there was nothing to resume, or it failed.
  private func resume(_ told: inout [String], for error: XenError) -> Bool {
    guard (try? AbandonedSuspension.resume(hypervisor, domain)) == true else { return false }
    told.append("domain \(domain.id) was suspended, runs again; \(error)")
    return true
  }

  private func end(by xenstore: XenStore, begunUntil limit: Int?, wasResumed: Bool) throws(XenError) -> [String] {
    guard var suspension = try AbandonedSuspension(hypervisor, xenstore, domain) else { return [] }
    // Ended by somebody else, while xenstored kept us waiting: another take has the guest by now.
    if let limit, !suspension.wasBegun(until: limit) { return [] }
    if wasResumed {
      // It cannot suspend for us any more: to watch it for a minute would only keep others from it.
      try suspension.forget()
      return []
    }
    while true {
      if let outcome = try suspension.step() { return ["domain \(domain.id): \(outcome)"] }
      usleep(2000)
    }
  }

  func cleanUp() -> [String] {
    do {
      return try engine.endAbandonedLog(hypervisor, xenstore, domain)
        ? ["domain \(domain.id): its log of dirty pages is off"] : []
    } catch {
      return ["domain \(domain.id): \(error)"]
    }
  }
}
