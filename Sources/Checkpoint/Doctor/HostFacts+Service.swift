extension HostFacts {
  var unitFindings: [Finding] {
    guard let units else {
      return [
        Finding(
          .warning, .units, "systemd does not run: nothing of it starts ckptd, nor the pools' disks after a boot",
          fix: "have the boot run `ckpt pool start` before guests start, then ckptd")
      ]
    }
    let faults = units.compactMap(finding)
    return faults.isEmpty ? [Finding(.ok, .units, units.map(\.name).joined(separator: ", "))] : faults
  }

  private func finding(_ unit: UnitState) -> Finding? {
    let name = unit.name
    // Without pools it has nothing to do.
    if name == Self.poolsUnit, !hasPools, !unit.hasFailed { return nil }
    guard unit.isInstalled else {
      return Finding(
        .warning, .units, of: name, "\(name) is not installed",
        fix: "install the package, in a checkout: Tools/package; apt install ./packages/ckpt_*_amd64.deb")
    }
    if unit.hasFailed {
      return Finding(
        .problem, .units, of: name, "\(name) has failed",
        fix: "journalctl -u \(name); systemctl reset-failed \(name); systemctl restart \(name)")
    }
    guard unit.isEnabled, unit.isActive else {
      let state = unit.isEnabled ? "does not run" : "is not started at boot"
      return Finding(.warning, .units, of: name, "\(name) \(state)", fix: "systemctl enable --now \(name)")
    }
    return nil
  }

  var serviceFindings: [Finding] {
    switch service {
    case .noSocket(let path):
      return [
        Finding(
          .warning, .service, "no ckptd at \(path): takes work without it, schedules do not run",
          fix: "systemctl enable --now ckptd.socket ckptd")
      ]
    case .silent(let why): return [Finding(.problem, .service, told: why)]
    case .answers(let process, let path) where !Path.areSame(path, store.path):
      return [
        Finding(
          .warning, .service, "ckptd, process \(process), works on another store: \(path)",
          fix: "say --store \(path), or change --store in ckptd.service, and the folder in ckpt-pools.service: "
            + "systemctl edit --full")
      ]
    case .answers(let process, _) where serviceIsOld:
      return [
        Finding(
          .warning, .service, "ckptd, process \(process), runs files that were replaced by newer ones",
          fix: "systemctl restart ckptd")
      ]
    case .answers(let process, _): return [Finding(.ok, .service, "ckptd answers, process \(process)")]
    }
  }
}
