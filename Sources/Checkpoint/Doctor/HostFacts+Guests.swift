import EpochStore
import Xen

extension HostFacts {
  var guestFindings: [Finding] {
    let running: [Finding] = guests.flatMap { guest in
      let faults = obstacles(guest)
      return faults.isEmpty ? [Finding(.ok, .guests, of: guest.name, "\(guest.name): \(ways(guest))")] : faults
    }
    return running + savedFindings
  }

  /// Guests that did not come back after a boot; an epoch must not take the place of what they were last.
  private var savedFindings: [Finding] {
    // Where Xen does not say which guests run, none is known not to.
    guard status.xen != nil else { return [] }
    return saved.sorted { $0.key < $1.key }.compactMap { name, file -> Finding? in
      let known = status.guests.filter { $0.name == name }
      guard known.contains(where: { $0.epochs > 0 }), known.allSatisfy({ $0.domain == nil }) else { return nil }
      return Finding(
        .warning, .guests, of: name,
        "\(name) does not run; what it was last is \(file), which xendomains saved when the host shut down",
        fix: "xl restore \(file) && rm \(file)")
    }
  }

  /// A guest that nobody wants epochs of may be as it likes; one that stands suspended is somebody's accident.
  private func obstacles(_ guest: Guest) -> [Finding] {
    var findings: [Finding] = []
    if let state = XenGuest.obstacle(guest.state) {
      let level: Finding.Level = guest.state == .suspended ? .problem : .warning
      findings.append(Finding(level, .guests, of: guest.name, told: "\(guest.name) is \(state)"))
    }
    if guest.refusesSuspend {
      findings.append(
        Finding(
          .warning, .guests, of: guest.name,
          "\(guest.name): its kernel says that it cannot suspend (control/feature-suspend)",
          fix: "boot it with a kernel that has CONFIG_HIBERNATE_CALLBACKS"))
    }
    if let others = namesakes(of: guest) {
      findings.append(
        Finding(
          .warning, .guests, of: guest.name, "\(guest.name): \(others)", fix: others.advice(to: guest.uuid)))
    }
    func all(_ level: Finding.Level, _ texts: [String]) -> [Finding] {
      texts.map { Finding(level, .guests, of: guest.name, told: "\(guest.name): \($0)") }
    }
    return findings + all(.problem, guest.harm) + all(.warning, guest.obstacles)
  }

  private func namesakes(of guest: Guest) -> Namesakes? {
    let others = status.guests.filter { $0.name == guest.name && $0.uuid != guest.uuid && $0.epochs > 0 }
    let newestFirst = others.sorted { ($0.newest?.time.milliseconds ?? 0) > ($1.newest?.time.milliseconds ?? 0) }
    return Namesakes(of: guest.name, uuids: newestFirst.map(\.uuid))
  }

  /// How it would be taken. What is slower, but right, is no fault.
  private func ways(_ guest: Guest) -> String {
    let asked = guest.offersChannel ? "its suspend event channel" : "xenstore, it offers no suspend event channel"
    let isLogged = guest.isTranslated || hypervisor.hasShadowPaging == true
    let changes = isLogged ? "Xen's log" : "comparing pages, this Xen has no shadow paging to log a PV guest's writes"
    return "asked through \(asked); changes found by \(changes)"
  }

  var recoveryFindings: [Finding] {
    status.recoverable.map { Finding(.problem, .recover, $0, fix: "ckpt recover") }
      + status.unfinished.map { Finding(.problem, .recover, of: $0.guest, $0.what, fix: $0.fix) }
  }
}

extension HostFacts.Guest {
  /// Notes why it cannot be taken.
  mutating func add(_ error: any Error) {
    switch error {
    case AdoptionError.replaced, AdoptionError.originChanged: harm.append("\(error)")
    default: obstacles.append("\(error)")
    }
  }
}
