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
      guard var suspension = try AbandonedSuspension(hypervisor, xenstore, domain) else { return told }
      if wasResumed {
        // It cannot suspend for us any more: to watch it for a minute would only keep others from it.
        try suspension.forget()
        return told
      }
      while true {
        if let outcome = try suspension.step() {
          told.append("domain \(domain.id): \(outcome)")
          return told
        }
        usleep(2000)
      }
    } catch {
      told.append("domain \(domain.id): \(error)")
      return told
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
