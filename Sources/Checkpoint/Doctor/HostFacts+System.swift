import Xen

extension HostFacts {
  /// What only root learns is not called missing.
  var hypervisorFindings: [Finding] {
    guard let version = hypervisor.version else {
      return [
        Finding(
          .problem, .xen, "no Xen under this kernel: no guests run here",
          fix: "apt install xen-system-amd64, then reboot into it; or see it without Xen, in a checkout: ./Tools/demo")
      ]
    }
    guard hypervisor.isControlDomain else {
      return [Finding(.problem, .xen, "this is a guest of Xen \(version)", fix: "run ckpt in its dom0")]
    }
    guard isRoot else {
      return [
        Finding(
          .problem, .xen, "Xen \(version); without root neither it nor device-mapper nor the store can be asked",
          fix: "sudo ckpt doctor")
      ]
    }
    if let trouble = hypervisor.trouble { return [Finding(.problem, .xen, told: trouble)] + deviceFindings }
    return [Finding(.ok, .xen, "Xen \(version), dom0")] + deviceFindings
  }

  private var deviceFindings: [Finding] {
    let missing = XenDevice.all.filter { !devices.contains($0.name) }
    guard !missing.isEmpty else {
      return [Finding(.ok, .devices, XenDevice.all.map(\.name).joined(separator: ", "))]
    }
    return missing.map { device in
      let fix = device.name == "xenbus" ? "systemctl start xen" : "modprobe \(device.module)"
      return Finding(
        device.isNeeded ? .problem : .warning, .devices, of: device.name, "\(device.paths[0]) is missing", fix: fix)
    }
  }

  var programFindings: [Finding] {
    var findings = [Finding(.ok, .libraries, libraries.joined(separator: ", "))]
    for program in programs where !program.isThere && (program.isNeeded ? hypervisor.version != nil : true) {
      findings.append(
        Finding(
          program.isNeeded ? .problem : .warning, .programs, of: program.name, "\(program.name) is not to be found",
          fix: "apt install \(program.package)"))
    }
    if let guardTrouble { findings.append(Finding(.problem, .programs, of: "ckpt-guard", told: guardTrouble)) }
    guard findings.count == 1 else { return findings }
    return findings + [Finding(.ok, .programs, (programs.map(\.name) + ["ckpt-guard"]).joined(separator: ", "))]
  }

  var kernelFindings: [Finding] {
    switch thinTarget {
    case .loadable: [Finding(.ok, .kernel, "dm_thin_pool is there, the first pool loads it")]
    case .missing:
      [
        Finding(
          .problem, .kernel, "this kernel has no dm_thin_pool, and so no pools",
          fix: "apt install linux-image-amd64, then reboot; or build it with CONFIG_DM_THIN_PROVISIONING")
      ]
    case .unknown(let why): isRoot ? [Finding(.problem, .kernel, told: why)] : []
    case .loaded(let version):
      // Before, a crash could lose data that a guest had flushed: metadata were written ahead of them.
      version.compare(toVersion: "1.22.0") < 0
        ? [
          Finding(
            .warning, .kernel,
            "thin-pool \(version) writes metadata before the data they point to; a power cut may lose writes",
            fix: "boot a kernel of 5.5 or later")
        ] : [Finding(.ok, .kernel, "thin-pool \(version)")]
    }
  }

  var configurationFindings: [Finding] {
    guard let configuration else { return [Finding(.ok, .config, "no file, every value is the default")] }
    let faults = configurationFaults.map {
      Finding(.problem, .config, of: configuration, "\($0)", fix: "edit it, then: ckpt config check \(configuration)")
    }
    let all = faults + sectionFindings
    return all.isEmpty ? [Finding(.ok, .config, of: configuration, "\(configuration): no faults")] : all
  }
}

extension String {
  /// Below 0, 0 or above 0: older, the same or newer. Dots part numbers.
  fileprivate func compare(toVersion other: String) -> Int {
    let (mine, theirs) = (split(separator: ".").map { Int($0) ?? 0 }, other.split(separator: ".").map { Int($0) ?? 0 })
    return mine == theirs ? 0 : mine.lexicographicallyPrecedes(theirs) ? -1 : 1
  }
}
