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

  var isHeld: Bool {
    guard let now = try? hypervisor.domain(domain.id) else { return false }
    return now.uuid == domain.uuid && now.state == .suspended
  }

  func letGo(wasResumed: Bool) -> [String] {
    var told: [String] = []
    for device in devices {
      do {
        if try pools?.resumeIfSuspended(device) == true { told.append("\(device) was suspended, runs again") }
      } catch {
        told.append("\(device): \(error)")
      }
    }
    do {
      do { return told + (try end(by: xenstore, wasResumed: wasResumed)) } catch XenError.unreachable {
        // xenstored ended, and was started anew.
        return told + (try end(by: XenStore(), wasResumed: wasResumed))
      }
    } catch {
      told.append("domain \(domain.id): \(error)")
      return told
    }
  }

  private func end(by xenstore: XenStore, wasResumed: Bool) throws -> [String] {
    guard var suspension = try AbandonedSuspension(hypervisor, xenstore, domain) else { return [] }
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
